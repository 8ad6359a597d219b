//! Numbers for people.

use std::time::Duration;

/// Prints the title and the column names of a table.
pub(crate) fn head(title: &str, columns: &[&str]) {
    println!("\n### {title}\n");
    println!("| | {} |", columns.join(" | "));
    println!("|---|{}", "---|".repeat(columns.len()));
}

/// A row in the making.
#[derive(Debug)]
pub(crate) struct Row(String);

impl Row {
    /// A row about this.
    pub(crate) fn new(name: &str) -> Self {
        Self(format!("| {name} |"))
    }

    /// Appends cells.
    pub(crate) fn cells(&mut self, cells: impl IntoIterator<Item = String>) {
        for cell in cells {
            self.0.push(' ');
            self.0.push_str(&cell);
            self.0.push_str(" |");
        }
    }

    /// Prints it.
    pub(crate) fn print(&self) {
        println!("{}", self.0);
    }
}

/// A time in milliseconds.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1_000.0)
}

/// The least, the middle and the greatest; zeros for none.
pub(crate) fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
    (at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1)))
}

/// Bytes in MiB.
#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
