"""The doors: `cli` (the command `tcpdashboard`), `http` (REST, WebSockets and their documents, the API as a
child of `up`) and `page` (what the browser gets, served by `http`). `columns` is what any of them exports.

Nothing is decided here: doors read the database and the log, and append commands to the journal.
"""
