//! The result of a run: figures beside their goals and beside the yardsticks of the same run, as a table for people
//! and as JSON for machines.

use std::fmt::Write as _;

use serde::Serialize;

use crate::machine::Machine;
use crate::yardstick::Yardstick;

/// Which way a figure gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// What the same thing costs with nothing but a library call, here and on the machine that the goals were set for.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// What was measured, for example `prost decode`.
    pub name: String,
    /// In this run.
    pub here: f64,
    /// On the machine of the goals.
    pub baseline: f64,
}

/// One measured figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// What was measured.
    pub measured: f64,
    /// What is wanted on the machine of the goals; `None` for figures that only inform.
    pub goal: Option<f64>,
    /// Which way is better.
    pub better: Better,
    /// The yardstick, where one applies.
    pub yardstick: Option<Comparison>,
}

impl Figure {
    /// A figure that only informs.
    pub fn info(name: impl Into<String>, unit: &'static str, measured: f64) -> Self {
        Self {
            name: name.into(),
            unit,
            measured,
            goal: None,
            better: Better::Lower,
            yardstick: None,
        }
    }

    /// A figure with a goal.
    pub fn goal(name: impl Into<String>, unit: &'static str, measured: f64, goal: f64, better: Better) -> Self {
        Self {
            name: name.into(),
            unit,
            measured,
            goal: Some(goal),
            better,
            yardstick: None,
        }
    }

    /// The same beside a yardstick.
    pub fn beside(mut self, name: &str, here: f64, baseline: f64) -> Self {
        self.yardstick = Some(Comparison {
            name: name.to_owned(),
            here,
            baseline,
        });
        self
    }

    /// Whether the goal is met: by the figure itself or by its ratio to the yardstick. `None` without a goal.
    pub fn met(&self) -> Option<bool> {
        let goal = self.goal?;
        let reaches = |value: f64, wanted: f64| match self.better {
            Better::Higher => value >= wanted,
            Better::Lower => value <= wanted,
        };
        let by_ratio = self
            .yardstick
            .as_ref()
            .is_some_and(|beside| reaches(self.measured / beside.here, goal / beside.baseline));
        Some(reaches(self.measured, goal) || by_ratio)
    }
}

/// Everything that a run found out.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The command's phase and its sizes.
    pub run: String,
    /// UTC seconds since the epoch when it began.
    pub began: u64,
    /// Where it ran.
    pub machine: Machine,
    /// The loads: signal and yardsticks.
    pub loads: Vec<(&'static str, Yardstick)>,
    /// The figures, in the order in which they were measured.
    pub figures: Vec<Figure>,
    /// What a reader must know to judge them: losses, failures, what was left out.
    pub notes: Vec<String>,
}

impl Report {
    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let machine = &self.machine;
        writeln!(out, "# {}\n", self.run)?;
        writeln!(
            out,
            "Machine: {}, {} cores, {:.1} GiB memory, Linux {}; 4 KiB write + fdatasync p50 {:.2} ms, p99 {:.2} ms.\n\
             The load generator ran on the same cores; CPU figures are the server's own user + system time.\n",
            machine.cpu,
            machine.cores,
            machine.memory as f64 / f64::from(1 << 30),
            machine.kernel,
            machine.fsync_p50.as_secs_f64() * 1e3,
            machine.fsync_p99.as_secs_f64() * 1e3,
        )?;
        writeln!(
            out,
            "| figure | measured | goal | met | yardstick, this run | ratio to it | ratio of the goal |"
        )?;
        writeln!(out, "| --- | ---: | ---: | --- | ---: | ---: | ---: |")?;
        for figure in &self.figures {
            let goal = figure.goal.map_or("-".to_owned(), number);
            let met = figure.met().map_or("", |met| if met { "yes" } else { "**no**" });
            let (beside, ratio, wanted) = match &figure.yardstick {
                Some(beside) => (
                    format!("{} {}", beside.name, number(beside.here)),
                    format!("{:.2}", figure.measured / beside.here),
                    figure
                        .goal
                        .map_or("-".to_owned(), |goal| format!("{:.2}", goal / beside.baseline)),
                ),
                None => ("-".to_owned(), "-".to_owned(), "-".to_owned()),
            };
            let (name, unit, measured) = (&figure.name, figure.unit, number(figure.measured));
            writeln!(
                out,
                "| {name} | {measured} {unit} | {goal} | {met} | {beside} | {ratio} | {wanted} |"
            )?;
        }
        writeln!(
            out,
            "\nYardsticks (one thread, its own CPU time, mimalloc; on the bytes that the server got):\n"
        )?;
        writeln!(
            out,
            "| load | items looked at | items a request | raw B | `zstd -1` B | `zstd -1` items/CPU-s \
             | prost decode items/CPU-s |"
        )?;
        writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for (name, yardstick) in &self.loads {
            writeln!(
                out,
                "| {name} | {} | {:.0} | {:.1} | {:.2} | {} | {} |",
                number(yardstick.items as f64),
                yardstick.items_per_request,
                yardstick.raw_bytes,
                yardstick.zstd_bytes,
                number(yardstick.zstd_rate),
                number(yardstick.prost_rate),
            )?;
        }
        if !self.notes.is_empty() {
            writeln!(out, "\nNotes:\n")?;
        }
        for note in &self.notes {
            writeln!(out, "- {note}")?;
        }
        Ok(())
    }
}

/// Thousands separated from 10,000 on; below, as many decimals as matter.
pub fn number(value: f64) -> String {
    if value.abs() >= 10_000.0 {
        let digits = format!("{value:.0}");
        let mut out = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) && !out.ends_with('-') {
                out.push(',');
            }
            out.push(digit);
        }
        out
    } else if value.abs() >= 100.0 || value == value.trunc() {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests;
