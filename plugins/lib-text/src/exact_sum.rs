//! An exactly rounded sum.

/// The sum of the terms, rounded once: Python's `math.fsum`.
///
/// Keeps the partial sums that do not overlap (Shewchuk 1997, "Adaptive
/// precision floating-point arithmetic", <https://doi.org/10.1007/PL00009321>)
/// and rounds half to even at the end, as CPython's `mathmodule.c` does.
/// A running sum would differ in the last bit from the references' values.
#[must_use]
pub fn exact_sum(terms: impl IntoIterator<Item = f64>) -> f64 {
    let mut partials: Vec<f64> = Vec::new();
    for term in terms {
        let mut x = term;
        let mut kept = 0;
        for i in 0..partials.len() {
            let mut y = partials[i];
            if x.abs() < y.abs() {
                std::mem::swap(&mut x, &mut y);
            }
            let high = x + y;
            let low = y - (high - x);
            if low != 0.0 {
                partials[kept] = low;
                kept += 1;
            }
            x = high;
        }
        partials.truncate(kept);
        partials.push(x);
    }

    let Some(mut high) = partials.pop() else {
        return 0.0;
    };
    let mut low = 0.0;
    while let Some(y) = partials.pop() {
        let x = high;
        high = x + y;
        low = y - (high - x);
        if low != 0.0 {
            break;
        }
    }
    // The remainder lies exactly half way: the next partial decides the direction.
    if let Some(&next) = partials.last()
        && ((low < 0.0 && next < 0.0) || (low > 0.0 && next > 0.0))
    {
        let y = low * 2.0;
        let x = high + y;
        if y == x - high {
            high = x;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a plain running sum; expected values from CPython 3.11's `math.fsum`.
    #[test]
    fn rounds_once() {
        let check = |terms: &[f64], expected: f64| {
            assert_eq!(exact_sum(terms.iter().copied()), expected, "{terms:?}");
        };
        check(&[], 0.0);
        check(&[0.1; 10], 1.0);
        check(&[1e100, 1.0, -1e100], 1.0);
        check(&[1e16, 1.0, 1e-16], 10_000_000_000_000_002.0);
        check(&[-0.5, -0.25, -0.1, -0.7], -1.55);
    }
}
