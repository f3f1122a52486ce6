"""Settings: what wins, where each came from, and what is said of those that cannot be."""

from pathlib import Path

import pytest

from infra.process import spans
from infra.process.settings import Settings, SettingsError, load_settings, shown


def loaded(home: Path, toml: str = "", **environ: str) -> Settings:
    home.mkdir(parents=True, exist_ok=True)
    (home / "tcpd.toml").write_text(toml, encoding="utf-8")
    return load_settings({"TCPD_HOME": str(home), **environ})


def test_without_any_setting_everything_lies_in_the_home_folder(tmp_path: Path) -> None:
    settings = load_settings({"TCPD_HOME": str(tmp_path)})
    assert settings.log_url == f"embedded://{tmp_path}/log"
    assert settings.database_url == f"sqlite:///{tmp_path}/projections.db"
    assert settings.kernels == tmp_path / "kernels"
    assert settings.partitions is None
    assert settings.origins["home"] == "environment TCPD_HOME"
    assert settings.origins["log_url"] == "default"


def test_the_home_is_a_folder_of_the_user_unless_said_otherwise() -> None:
    assert load_settings({}).home == Path("~/.tcpdashboard").expanduser()


def test_a_home_with_signs_of_a_url_is_still_one_folder(tmp_path: Path) -> None:
    settings = load_settings({"TCPD_HOME": str(tmp_path / "a #?b")})
    assert settings.log_url == f"embedded://{tmp_path}/a%20%23%3Fb/log"


def test_a_line_of_the_file_sets_and_names_its_place(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "# mine\n\npartitions = 8\nsim_seed = 7\n")
    assert (settings.partitions, settings.sim_seed) == (8, 7)
    assert settings.origins["partitions"] == f"{tmp_path}/tcpd.toml:3 partitions"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "partitions = 8", TCPD_PARTITIONS="2")
    assert settings.partitions == 2
    assert settings.origins["partitions"] == "environment TCPD_PARTITIONS"


def test_an_empty_variable_is_no_setting(tmp_path: Path) -> None:
    assert loaded(tmp_path, "partitions = 8", TCPD_PARTITIONS="").partitions == 8


def test_another_file_may_be_named_and_may_name_the_home(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text('home = "data"\nstrategies = ["mine.py"]', encoding="utf-8")
    settings = load_settings({"TCPD_CONFIG": str(file)})
    assert settings.home == tmp_path / "data"
    assert settings.log_url == f"embedded://{tmp_path}/data/log"
    assert settings.strategies == (tmp_path / "mine.py",)


def test_feeds_are_a_list_in_the_file_and_words_in_the_environment(tmp_path: Path) -> None:
    feeds = ("binance:BTC/USDT", "binance:ETH/USDT")
    assert loaded(tmp_path, f"feeds = {list(feeds)}").feeds == feeds
    assert loaded(tmp_path, TCPD_FEEDS=" binance:BTC/USDT,binance:ETH/USDT ").feeds == feeds
    with pytest.raises(SettingsError, match="feeds = '7' must be a list of texts"):
        loaded(tmp_path, "feeds = 7")


def test_a_proxy_is_a_url_and_its_password_is_hidden(tmp_path: Path) -> None:
    proxy = loaded(tmp_path, TCPD_PROXY="http://me:secret@10.0.0.1:3128").proxy
    assert proxy == "http://me:secret@10.0.0.1:3128" and "secret" not in shown(proxy)
    for wrong in ("10.0.0.1:3128", "http://", "http://:3128"):
        with pytest.raises(SettingsError, match="must be http://HOST:PORT"):
            loaded(tmp_path, TCPD_PROXY=wrong)


@pytest.mark.parametrize(("text", "seconds"), [("24h", 86_400), ("90s", 90), ("7d", 604_800), ("0", 0)])
def test_a_span_of_time_has_its_unit(tmp_path: Path, text: str, seconds: int) -> None:
    assert loaded(tmp_path, TCPD_BACKFILL_MAX=text).backfill_max == seconds
    assert spans.seconds(spans.span(seconds)) == seconds


def test_files_in_the_environment_are_joined_like_a_search_path(tmp_path: Path) -> None:
    settings = loaded(tmp_path, TCPD_STRATEGIES=f"{tmp_path}/a.py:{tmp_path}/b.py")
    assert settings.strategies == (tmp_path / "a.py", tmp_path / "b.py")


@pytest.mark.parametrize(
    ("toml", "environ", "words"),
    [
        ("partitons = 8", {}, r"tcpd.toml:1: 'partitons' is no setting; did you mean partitions\?"),
        ("", {"TCPD_LOG_URI": "x"}, r"TCPD_LOG_URI is no setting; did you mean TCPD_LOG_URL\?"),
        ("", {"TCPD_PARTITIONS": "many"}, "TCPD_PARTITIONS: partitions = 'many' must be a whole number"),
        ("\npartitions = 0", {}, "tcpd.toml:2: partitions = '0' must be a whole number from 1 to 4096"),
        ("partitions = true", {}, "must be a whole number"),
        ("log_url = 5", {}, "tcpd.toml:1: log_url = '5' must be text"),
        ("", {"TCPD_DATABASE_URL": "projections.db"}, "must be sqlite:///FILE or postgresql"),
        ("", {"TCPD_DATABASE_URL": "mysql://db/x"}, "must be sqlite:///FILE or postgresql"),
        ("", {"TCPD_REDIS_URL": "redis://host:port/0"}, "must be redis://HOST:PORT/0, .* its port a number"),
        ("", {"TCPD_LOG_URL": "http://host:9092"}, "must be embedded:///FOLDER or kafka://HOST:PORT"),
        ("", {"TCPD_LOG_URL": "kafka://ann@host:9092"}, "must be embedded:///FOLDER or kafka://HOST:PORT"),
        ("strategies = 5", {}, "must be a list of files"),
        ("backfill_max = 5", {}, "must be text"),
        ("", {"TCPD_BACKFILL_MAX": "5"}, "must be a whole number with s, m, h or d behind it, as 24h; or 0"),
        ("partitions = ", {}, "tcpd.toml: .*a line is: name = value"),
        ('home = "elsewhere"', {}, "tcpd.toml:1: home cannot be set in .*; set TCPD_HOME"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_one_line_with_its_place_and_the_way_out(
    tmp_path: Path, toml: str, environ: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        loaded(tmp_path, toml, **environ)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_named_and_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none.toml: No such file .*; mend it, or unset TCPD_CONFIG"):
        load_settings({"TCPD_CONFIG": str(tmp_path / "none.toml")})


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("postgresql+psycopg2://ann:s3:cret@db/x", "postgresql+psycopg2://ann:***@db/x"),
        ("postgresql+psycopg2://db/x?password=s3cret&a=1", "postgresql+psycopg2://db/x?password=***&a=1"),
        ("redis://:s3/cr@et@host:6379/0", "redis://:***@host:6379/0"),
        ("ann:s3cret@db/x", "ann:***@db/x"),
        ("kafka://host:9092", "kafka://host:9092"),
        ("kafka://one:9092,two:9092/prod", "kafka://one:9092,two:9092/prod"),
        ("sqlite:////home/ann/projections.db", "sqlite:////home/ann/projections.db"),
    ],
)
def test_passwords_are_not_shown(value: str, printed: str) -> None:
    assert shown(value) == printed


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TCPD_PARTITIONS", "postgresql://ann:s3cret@db/x"),
        ("TCPD_DATABASE_URL", "postgresql://ann:s3cret@db:x/x"),
        ("TCPD_DATABASE_URL", "postgresql://ann:s3cret/y@db/x"),
        ("TCPD_DATABASE_URL", "ann:s3cret@db/x"),
        ("TCPD_LOG_URL", "kafka://ann:s3cret@host:9092"),
        ("TCPD_LOG_URL", "kafka://host:9092?password=s3cret"),
        ("TCPD_REDIS_URL", "http://:s3cret@host"),
    ],
)
def test_a_password_that_is_refused_is_not_shown_either(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, **{variable: value})
    assert "s3cret" not in str(caught.value)


def test_another_home_moves_log_and_database_and_keeps_the_compiled_kernels(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "partitions = 8").in_home(tmp_path / "fresh")
    assert settings.log_url == f"embedded://{tmp_path}/fresh/log"
    assert settings.database_url == f"sqlite:///{tmp_path}/fresh/projections.db"
    assert settings.kernels == tmp_path / "kernels"
    assert settings.partitions == 8
