//! The table of ratios.

use crate::rounds::median;

/// The lines so far.
#[derive(Default)]
pub struct Table(pub String);

impl Table {
    /// Adds a line: what the rounds of one thing came to against those of another.
    pub fn add(
        &mut self,
        what: &str,
        unit: &str,
        figures: &[f64],
        against: &[f64],
    ) -> anyhow::Result<()> {
        let ratios: Vec<f64> = figures.iter().zip(against).map(|(a, b)| a / b).collect();
        let range = range(&ratios);
        let [figure, other] = [median(figures)?, median(against)?].map(number);
        let ratio = number(median(&ratios)?);
        self.line(&format!(
            "{what} | {figure} {unit} | {other} {unit} | {ratio} | {range}"
        ));
        Ok(())
    }

    /// Adds a line of a figure that is compared with none.
    pub fn add_figure(&mut self, what: &str, unit: &str, figures: &[f64]) -> anyhow::Result<()> {
        let (figure, range) = (number(median(figures)?), range(figures));
        self.line(&format!("{what} | {figure} {unit} | | | {range} {unit}"));
        Ok(())
    }

    fn line(&mut self, cells: &str) {
        let line = format!("| {cells} |\n");
        eprint!("{line}");
        self.0 += &line;
    }
}

fn range(figures: &[f64]) -> String {
    let low = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let high = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{}..{}", number(low), number(high))
}

/// A figure with about three digits.
fn number(figure: f64) -> String {
    let decimals = match figure {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{figure:.decimals$}")
}
