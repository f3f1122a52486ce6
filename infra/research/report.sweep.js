const lines = data.lines.map((values) => {
  const series = chart.addSeries(LineSeries, { lineWidth: 2, priceLineVisible: false });
  series.setData(line(values));
  return series;
});

show(() => lines.forEach((series, place) => series.applyOptions({ color: color(`line-${place}`) })));
