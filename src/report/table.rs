//! Plain tables, durations and sizes for people.

/// Rows under a heading, columns as wide as they need; the first column to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells =
            row.iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// "1 warning", "2 warnings".
pub fn many(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// "4.32 s", "17 ms", "0.4 ms".
pub fn duration(ms: f64) -> String {
    if ms >= 1000.0 {
        format!("{:.2} s", ms / 1000.0)
    } else if ms >= 10.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{ms:.1} ms")
    }
}

/// "87.3 MiB".
pub fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A UTC time, and what the clock on this machine's wall said then.
pub fn moment(time: jiff::Timestamp) -> String {
    let local = time.to_zoned_datetime(jiff::tz::TimeZone::system());
    match local.offset().is_zero() {
        true => local.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        false => format!(
            "{} UTC ({})",
            time.strftime("%Y-%m-%d %H:%M:%S"),
            local.strftime("%H:%M:%S %Z")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |cells: &[&str]| {
            cells
                .iter()
                .map(|cell| (*cell).to_owned())
                .collect::<Vec<_>>()
        };
        insta::assert_snapshot!(table(&[row(&["broker", "stop"]), row(&["0", "3.98 s"]), row(&["10", "1 ms"])]), @r"
        broker    stop
        0       3.98 s
        10        1 ms
        ");
    }

    #[test]
    fn durations_have_three_figures() {
        assert_eq!(
            (duration(4321.0), duration(17.4), duration(0.44)),
            ("4.32 s".into(), "17 ms".into(), "0.4 ms".into())
        );
    }
}
