//! Plots: lines over the numbers of connections, both axes logarithmic, as SVG.

use std::{ops::Range, path::Path};

use plotters::prelude::*;

const COLOURS: [RGBColor; 4] = [RED, BLUE, GREEN, BLACK];

/// A line and its name.
pub struct Line<'a> {
    pub name: &'a str,
    pub points: Vec<(f64, f64)>,
}

/// Plots `lines` into the file `path`. `unit` is that of the values.
pub fn plot(path: &Path, unit: &str, lines: &[Line]) -> anyhow::Result<()> {
    let connections = range(lines, |point| point.0, 1.2);
    let values = range(lines, |point| point.1, 1.5);
    // With room above the lines for their names.
    let values = values.start..values.end * 8.0;

    let area = SVGBackend::new(path, (800, 500)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d(connections.log_scale(), values.log_scale())?;
    chart
        .configure_mesh()
        .x_desc("connections")
        .y_desc(unit)
        .label_style(("sans-serif", 14))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y}"))
        .draw()?;

    for (line, colour) in lines.iter().zip(COLOURS) {
        let series = LineSeries::new(line.points.clone(), colour.stroke_width(2)).point_size(4);
        let legend = move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2));
        chart.draw_series(series)?.label(line.name).legend(legend);
    }
    chart
        .configure_series_labels()
        .label_font(("sans-serif", 14))
        .border_style(BLACK)
        .background_style(WHITE)
        .position(SeriesLabelPosition::UpperLeft)
        .draw()?;
    area.present()?;
    Ok(())
}

/// The range of a coordinate, with a margin.
fn range(lines: &[Line], of: fn(&(f64, f64)) -> f64, margin: f64) -> Range<f64> {
    let values = lines.iter().flat_map(|line| &line.points).map(of);
    let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    low / margin..high * margin
}
