//! The violations that pycodestyle knows, by their codes.

macro_rules! codes {
    ($($code:ident)*) => {
        /// A violation. The names are pycodestyle's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $(
                #[doc = stringify!($code)]
                $code,
            )*
        }

        impl Code {
            /// All codes that are counted, sorted.
            pub const ALL: [Self; COUNT] = [$(Self::$code),*];

            /// `E501`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$code => stringify!($code),)*
                }
            }
        }

        const COUNT: usize = [$(stringify!($code)),*].len();
    };
}

// All of pycodestyle 2.15.0 but what it ignores by default (E121, E123, E126,
// E226, E24, E704, W503, W504), what it does only on request (E133, W505), and
// files that can't be read (E902).
codes! {
    E101 E111 E112 E113 E114 E115 E116 E117 E122 E124 E125 E127 E128 E129 E131
    E201 E202 E203 E204 E211 E221 E222 E223 E224 E225 E227 E228 E231 E251 E252
    E261 E262 E265 E266 E271 E272 E273 E274 E275 E301 E302 E303 E304 E305 E306
    E401 E402 E501 E502 E701 E702 E703 E711 E712 E713 E714 E721 E722 E731 E741
    E742 E743 E901 W191 W291 W292 W293 W391 W605
}

/// How often each violation was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts([u32; COUNT]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, code: Code) {
        self.0[code as usize] += 1;
    }

    /// How often this one was found.
    #[must_use]
    pub fn get(&self, code: Code) -> u32 {
        self.0[code as usize]
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.0.iter().sum()
    }

    /// What remains when the violations of a part are taken away.
    #[must_use]
    pub fn without(&self, part: &Self) -> Self {
        let mut rest = self.clone();
        for (count, others) in rest.0.iter_mut().zip(part.0) {
            *count = count.saturating_sub(others);
        }
        rest
    }

    /// Those that were found, by code.
    pub fn found(&self) -> impl Iterator<Item = (&'static str, u32)> {
        Code::ALL
            .into_iter()
            .map(|code| (code.name(), self.get(code)))
            .filter(|(_, count)| *count > 0)
    }
}
