//! Tells about itself what cannot be, or what it contradicts later.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(_: &Sample) -> Result<Vec<f64>, Error> {
        Ok(vec![
            0.5;
            <Self as Behaviour>::describe().statistics_length
                as usize
        ])
    }

    fn describe() -> Descriptor {
        let honest = descriptor();
        match how().as_str() {
            "bad-name" => Descriptor {
                name: "Bad\u{1b}[31m Name!".into(),
                ..honest
            },
            "no-name" => Descriptor {
                name: String::new(),
                ..honest
            },
            "long-name" => Descriptor {
                name: "x".repeat(1 << 20),
                ..honest
            },
            "other-name" => Descriptor {
                name: "other".into(),
                ..honest
            },
            "other-version" => Descriptor {
                version: "9.9.9".into(),
                ..honest
            },
            "empty-range" => Descriptor {
                minimum: 1.0,
                maximum: 1.0,
                ..honest
            },
            "turned-range" => Descriptor {
                minimum: 1.0,
                maximum: 0.0,
                ..honest
            },
            "nan-range" => Descriptor {
                maximum: f64::NAN,
                ..honest
            },
            "aggregation" => Descriptor {
                aggregation: "\rmedian".into(),
                ..honest
            },
            "headline" => Descriptor {
                headline: "best".into(),
                ..honest
            },
            "no-statistics" => Descriptor {
                statistics_length: 0,
                ..honest
            },
            "whole-statistics" => Descriptor {
                aggregation: "whole".into(),
                ..honest
            },
            "millions" => Descriptor {
                statistics_length: 10_000_000,
                ..honest
            },
            "most" => Descriptor {
                statistics_length: 4096,
                ..honest
            },
            "one-too-many" => Descriptor {
                statistics_length: 4097,
                ..honest
            },
            "loud" => {
                let loud = "\u{1b}[2Jred\u{7}".repeat(10_000);
                Descriptor {
                    version: loud.clone(),
                    summary: loud.clone(),
                    unit: loud.clone(),
                    citation: loud.clone(),
                    signature: loud,
                    ..honest
                }
            }
            "memory" => {
                let hoard: Vec<u64> = std::hint::black_box(vec![1; 1 << 27]);
                Descriptor {
                    statistics_length: hoard.len() as u32,
                    ..honest
                }
            }
            "large" => Descriptor {
                citation: "x".repeat(100 << 20),
                ..honest
            },
            "loop" => loop {
                std::hint::black_box(());
            },
            "panic" => panic!("{}", "\u{1b}[31mred".repeat(1 << 17)),
            "short-panic" => panic!("\u{1b}[31mred"),
            "exit" => std::process::exit(3),
            _ => honest,
        }
    }

    fn configure(options: String) -> Result<(), Error> {
        remember(options);
        match how().as_str() {
            "refuse" => Err(error("bad-option", "unknown option `how`\u{1b}[31m")),
            "configure-panic" => panic!("configured to death"),
            _ => Ok(()),
        }
    }
}

export!(Raw);
