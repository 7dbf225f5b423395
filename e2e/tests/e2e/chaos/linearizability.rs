//! Whether a history is linearizable (Herlihy and Wing, 1990): whether each question can have been answered at one
//! moment after it was asked and before its answer came, so that each answer was right at its moment.
//!
//! In general that takes a search among all orders. Here it takes none, because users are only ever added, and the
//! rows at the end tell which ones. Each answer then only says of some rows that they were created before its moment,
//! and of others that they were created after it. So the earliest possible moment of each thing follows from those
//! before it, and when one has none, no other choice would have left it one.
//!
//! It holds for one server: after a failover, a row that was read may be gone. An answer need not say that it is a
//! replay, because the service cannot always know.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::Instant;

use super::history::{Asked, Event, Row, Told};

/// What is wrong with a history that ended with these rows, in words.
pub fn violations(events: &[Event], rows: &[Row]) -> Vec<String> {
    let mut order = Order::new(rows);
    let mut violations = Vec::new();
    for event in events {
        if let Err(wrong) = order.add(event) {
            violations.push(format!("{wrong}: {event:?}"));
        }
    }
    violations.extend(order.contradictions());
    violations
}

/// What happened, and what must have come before what. The creations of the rows come first.
struct Order<'a> {
    rows: &'a [Row],
    by_id: BTreeMap<&'a str, usize>,
    by_email: HashMap<&'a str, usize>,
    all: Vec<Happening<'a>>,
}

/// Something that happened at one moment.
struct Happening<'a> {
    what: What<'a>,
    /// When it can have happened: in one of these times. One without an end lasts for ever.
    possible: Vec<(Instant, Option<Instant>)>,
    /// What must have happened before it.
    after: Vec<usize>,
}

enum What<'a> {
    Creation(&'a Row),
    Answer(&'a Event),
}

impl<'a> Order<'a> {
    fn new(rows: &'a [Row]) -> Self {
        let creation = |row| Happening {
            what: What::Creation(row),
            possible: Vec::new(),
            after: Vec::new(),
        };
        Self {
            rows,
            by_id: rows.iter().map(|row| &*row.id).zip(0..).collect(),
            by_email: rows.iter().map(|row| &*row.email).zip(0..).collect(),
            all: rows.iter().map(creation).collect(),
        }
    }

    /// Adds what an event says. Fails when it can never have been right.
    fn add(&mut self, event: &'a Event) -> Result<(), &'static str> {
        if let Asked::Create(user) = &event.asked
            && matches!(
                event.told,
                Told::Nothing | Told::Created { is_replay: false }
            )
            && let Some(&its_row) = self.by_id.get(&*user.id)
            && self.rows[its_row] == *user
        {
            self.all[its_row].possible.push((event.begin, event.end));
        }
        let (there, missing) = match &event.told {
            Told::Nothing => return Ok(()),
            Told::Status(_) => return Err("a status that no fault may cause"),
            Told::Rows(rows) => self.read(&event.asked, rows)?,
            told => self.create(&event.asked, told)?,
        };

        let answer = self.all.len();
        self.all.push(Happening {
            what: What::Answer(event),
            possible: vec![(event.begin, event.end)],
            after: there,
        });
        for row in missing {
            self.all[row].after.push(answer);
        }
        Ok(())
    }

    /// Which rows were there when a create was answered so, and which were not.
    fn create(&self, asked: &Asked, told: &Told) -> Result<(Vec<usize>, Vec<usize>), &'static str> {
        let Asked::Create(user) = asked else {
            return Err("a read that was answered like a create");
        };
        let of_id = self.by_id.get(&*user.id).copied();
        let of_email = self.by_email.get(&*user.email).copied();
        let is_its_own = |row: &usize| self.rows[*row] == *user;
        match told {
            Told::EmailTaken => {
                let taker = of_email.filter(|row| self.rows[*row].id != user.id);
                let taker = taker.ok_or("409 without a reason")?;
                Ok((vec![taker], Vec::from_iter(of_id)))
            }
            Told::IdConflict => {
                let other = of_id.filter(|row| !is_its_own(row));
                Ok((vec![other.ok_or("422 without a reason")?], vec![]))
            }
            _ => {
                let its_own = of_id.filter(is_its_own);
                Ok((vec![its_own.ok_or("201 without its row")?], vec![]))
            }
        }
    }

    /// Which rows were there when a read was answered so, and which were not.
    fn read(&self, asked: &Asked, told: &[Row]) -> Result<(Vec<usize>, Vec<usize>), &'static str> {
        let asked_for: Vec<usize> = match asked {
            Asked::Create(_) => return Err("a create that was answered like a read"),
            Asked::WithRevokedKey => return Err("an API key that works although it was revoked"),
            Asked::Get(id) => Vec::from_iter(self.by_id.get(&**id).copied()),
            Asked::Find(email) => Vec::from_iter(self.by_email.get(&**email).copied()),
            Asked::Page { after, until } => {
                let ids: Vec<_> = (after.iter())
                    .chain(told.iter().map(|row| &row.id))
                    .collect();
                if !ids.is_sorted_by(|a, b| a < b) {
                    return Err("a page that is not in the order of the ids");
                }
                let after = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let until = until.as_deref().map_or(Bound::Unbounded, Bound::Included);
                let range = self.by_id.range::<str, _>((after, until));
                range.map(|(_, row)| *row).collect()
            }
        };
        let is_told = |row: &usize| told.contains(&self.rows[*row]);
        let (there, missing): (Vec<_>, Vec<_>) = asked_for.into_iter().partition(is_told);
        if there.len() == told.len() {
            Ok((there, missing))
        } else {
            Err("a row that was not asked for, or that nobody created")
        }
    }

    /// What cannot have happened at any moment.
    fn contradictions(&self) -> Vec<String> {
        let mut violations = Vec::new();
        let mut moments: Vec<Option<Instant>> = vec![None; self.all.len()];
        let order = self.in_order();
        if order.len() < self.all.len() {
            violations
                .push("answers that contradict each other about which row came first".to_owned());
        }
        for i in order {
            let Happening {
                what,
                possible,
                after,
            } = &self.all[i];
            let not_before = after.iter().filter_map(|&earlier| moments[earlier]).max();
            let earliest = |(begin, end): &(Instant, Option<Instant>)| {
                let earliest = not_before.map_or(*begin, |not_before| not_before.max(*begin));
                end.is_none_or(|end| earliest <= end).then_some(earliest)
            };
            moments[i] = possible.iter().filter_map(earliest).min();
            if moments[i].is_some() {
                continue;
            }
            violations.push(match what {
                What::Creation(row) if possible.is_empty() => {
                    format!("a row that nobody asked for: {row:?}")
                }
                What::Creation(row) => {
                    format!("a row that was missing after the last attempt: {row:?}")
                }
                What::Answer(event) => format!("a row that was not there yet: {event:?}"),
            });
        }
        violations
    }

    /// Everything in an order in which each thing comes after those that it must come after. What is in a circle,
    /// or comes after one, is left out.
    fn in_order(&self) -> Vec<usize> {
        let mut later = vec![Vec::new(); self.all.len()];
        let mut waits_for: Vec<usize> = Vec::with_capacity(self.all.len());
        for (i, happening) in self.all.iter().enumerate() {
            waits_for.push(happening.after.len());
            for &earlier in &happening.after {
                later[earlier].push(i);
            }
        }
        let mut order: Vec<usize> = (0..self.all.len()).filter(|&i| waits_for[i] == 0).collect();
        let mut next = 0;
        while let Some(&i) = order.get(next) {
            next += 1;
            for &i in &later[i] {
                waits_for[i] -= 1;
                if waits_for[i] == 0 {
                    order.push(i);
                }
            }
        }
        order
    }
}
