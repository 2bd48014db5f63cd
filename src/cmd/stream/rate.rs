use std::str::FromStr;

/// Bytes in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub u64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let wrong = || format!("{text:?} is not a rate, such as 500K, 20M or 1G in a second");
        let unit = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(unit);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let unit = match unit
            .to_ascii_uppercase()
            .trim_end_matches('B')
            .trim_end_matches('I')
        {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            _ => return Err(wrong()),
        };
        let rate = number * f64::from(1_u32 << unit);
        match (1.0..1e18).contains(&rate) {
            true => Ok(Rate(rate as u64)),
            false => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, rate) in [
            ("1", 1),
            ("500K", 512_000),
            ("1.5M", 3 << 19),
            ("20MiB", 20 << 20),
            ("1g", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Rate(rate)), "{text}");
        }
        for text in ["", "0", "M", "-1M", "1T", "1 M", "1..5M", "0.1"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
