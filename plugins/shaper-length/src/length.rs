//! The penalty of a length, in plain numbers.

/// Where a response is neither too short nor too long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Fewer tokens than this are too few.
    pub min_tokens: f64,
    /// Longest response the run allows.
    pub max_tokens: f64,
    /// How far before the longest the penalty begins.
    pub buffer_tokens: f64,
}

impl Bounds {
    /// Soft overlong punishment (DAPO, Yu et al. 2025, eq. 13,
    /// <https://arxiv.org/abs/2503.14476>): 0 up to `max - buffer`, falling
    /// linearly to -1 at `max`, and -1 beyond.
    pub fn overlong(&self, tokens: f64) -> f64 {
        let free = self.max_tokens - self.buffer_tokens;
        if tokens <= free {
            0.0
        } else if tokens <= self.max_tokens {
            (free - tokens) / self.buffer_tokens
        } else {
            -1.0
        }
    }

    /// The same at the other end: 0 from `min_tokens` on, -1 for an empty response.
    pub fn underlong(&self, tokens: f64) -> f64 {
        if tokens >= self.min_tokens {
            0.0
        } else {
            (tokens - self.min_tokens) / self.min_tokens
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches a penalty that begins too early, jumps, or grows beyond -1.
    #[test]
    fn penalties_are_linear_between_their_ends() {
        let bounds = Bounds {
            min_tokens: 4.0,
            max_tokens: 20.0,
            buffer_tokens: 8.0,
        };
        for (tokens, overlong, underlong) in [
            (0.0, 0.0, -1.0),
            (1.0, 0.0, -0.75),
            (4.0, 0.0, 0.0),
            (12.0, 0.0, 0.0),
            (14.0, -0.25, 0.0),
            (20.0, -1.0, 0.0),
            (21.0, -1.0, 0.0),
        ] {
            assert_eq!(bounds.overlong(tokens), overlong, "{tokens}");
            assert_eq!(bounds.underlong(tokens), underlong, "{tokens}");
        }
    }

    // Catches a division by an empty buffer.
    #[test]
    fn no_buffer_is_a_step() {
        let bounds = Bounds {
            min_tokens: 0.0,
            max_tokens: 20.0,
            buffer_tokens: 0.0,
        };
        assert_eq!((bounds.overlong(20.0), bounds.overlong(21.0)), (0.0, -1.0));
        assert_eq!(bounds.underlong(0.0), 0.0);
    }
}
