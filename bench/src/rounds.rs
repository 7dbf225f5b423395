//! Rounds: what is compared takes turns in each, so that a busy moment of the machine meets all of it.

use anyhow::ensure;

use crate::Args;

/// Runs each turn once in every round. Returns what each came to, without the rounds that warm up.
pub fn take_turns<Turn, Outcome>(
    args: &Args,
    turns: &[Turn],
    mut run: impl FnMut(&Turn) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Vec<Vec<Outcome>>> {
    let mut outcomes: Vec<Vec<Outcome>> = turns.iter().map(|_| Vec::new()).collect();
    for round in 0..args.warm_up + args.rounds {
        for (turn, outcomes) in turns.iter().zip(&mut outcomes) {
            let outcome = run(turn)?;
            if round >= args.warm_up {
                outcomes.push(outcome);
            }
        }
    }
    Ok(outcomes)
}

/// The middle one of some figures, or halfway between the two in the middle.
pub fn median(figures: &[f64]) -> anyhow::Result<f64> {
    ensure!(!figures.is_empty(), "at least one round is needed");
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let (low, high) = ((figures.len() - 1) / 2, figures.len() / 2);
    Ok(f64::midpoint(figures[low], figures[high]))
}
