//! From a day's number to its date; which clock the number is of is left to who asks.

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar: Howard
/// Hinnant's `civil_from_days`, <https://howardhinnant.github.io/date_algorithms.html>.
pub fn date(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a date that is another's: leap days, the ends of a year and of a century.
    #[test]
    fn days_are_dates() {
        let check = |days: u64, expected| assert_eq!(date(days), expected);
        check(0, (1970, 1, 1));
        check(59, (1970, 3, 1));
        check(11_015, (2000, 2, 28));
        check(11_016, (2000, 2, 29));
        check(19_722, (2023, 12, 31));
        check(20_088, (2024, 12, 31));
        check(47_540, (2100, 2, 28));
        check(47_541, (2100, 3, 1));
    }
}
