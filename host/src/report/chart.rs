//! Line charts as SVG: inside the page, whose style they take, and as files of their own.

use std::fmt::Write;

use serde_json::json;

use super::text::{escape, number};

const WIDTH: f64 = 640.0;
/// Of the area between the axes.
const PLOT: f64 = 220.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 42.0;
const LEGEND_LINE: f64 = 20.0;
/// Points of a line at most: as many as the picture has columns.
const POINTS_MAX: usize = 600;
/// Lines with more points than this are drawn smoothed, with what was measured behind them.
const SMOOTH_FROM: usize = 40;
/// Colours of the style sheet.
const COLOURS: usize = 8;
/// The style of charts, which the page includes, too.
pub const STYLE: &str = include_str!("../../assets/report/chart.css");

/// One line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    pub name: String,
    /// x rises.
    pub points: Vec<(f64, f64)>,
    /// Of each point, or empty.
    pub intervals: Vec<[f64; 2]>,
    /// Whether it is measured anew at each step: a long line is drawn smoothly then.
    pub noisy: bool,
}

/// A line across the chart that a series should come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Index of the series.
    pub of: usize,
    pub value: f64,
}

/// A chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    pub title: String,
    /// What a reader should know, a sentence or nothing.
    pub note: String,
    pub x: String,
    pub series: Vec<Series>,
    pub targets: Vec<Target>,
    /// Names of x = 0, 1, … where x is no number.
    pub names: Vec<String>,
}

/// The area that is drawn in.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
    top: f64,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + (self.y.1 - value) / (self.y.1 - self.y.0) * PLOT
    }
}

impl Chart {
    /// Whether it has anything to show.
    pub fn has_data(&self) -> bool {
        self.series.iter().any(|series| !series.points.is_empty())
    }

    /// The chart as an element of a page.
    pub fn svg(&self) -> String {
        self.draw(false)
    }

    /// The chart as a file: with its title, its style and a background.
    pub fn file(&self) -> String {
        self.draw(true)
    }

    fn draw(&self, alone: bool) -> String {
        let legend = self.legend();
        let lines = legend.iter().map(|item| item.line + 1).max().unwrap_or(0);
        let title = if alone { 30.0 } else { 4.0 };
        let top = title + LEGEND_LINE * lines as f64 + 8.0;
        let height = top + PLOT + BOTTOM;
        let frame = Frame {
            x: self.x_range(),
            y: self.y_range(),
            top,
        };
        let mut out = format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\"",
            escape(&self.spoken())
        );
        if alone {
            let _ = write!(
                out,
                " xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\"><style>{STYLE}</style><rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/><text class=\"title\" x=\"{LEFT}\" y=\"22\">{}</text>",
                escape(&self.title)
            );
        } else {
            let data = json!({
                "x": self.x, "names": self.names,
                "frame": [LEFT, WIDTH - RIGHT, frame.x.0, frame.x.1, top, top + PLOT],
                "series": self.series.iter().map(|series| json!({
                    "name": series.name, "points": series.points, "intervals": series.intervals,
                })).collect::<Vec<_>>(),
            });
            let _ = write!(out, " data-chart=\"{}\">", escape(&data.to_string()));
        }
        for item in &legend {
            let y = title + LEGEND_LINE * item.line as f64 + 10.0;
            let _ = write!(
                out,
                "<rect class=\"f{}\" x=\"{}\" y=\"{}\" width=\"12\" height=\"4\" rx=\"2\"/><text class=\"legend\" x=\"{}\" y=\"{}\">{}</text>",
                item.colour,
                item.x,
                y - 2.0,
                item.x + 18.0,
                y + 4.0,
                escape(item.name)
            );
        }
        self.axes(&mut out, &frame);
        for target in &self.targets {
            let y = frame.y(target.value);
            let colour = target.of % COLOURS;
            let _ = write!(
                out,
                "<line class=\"target s{colour}\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"mark f{colour}\" x=\"{}\" y=\"{:.1}\">target {}</text>",
                WIDTH - RIGHT,
                WIDTH - RIGHT - 2.0,
                y - 4.0,
                number(target.value)
            );
        }
        for (at, series) in self.series.iter().enumerate() {
            line(
                &mut out,
                &frame,
                series,
                at % COLOURS,
                !self.names.is_empty(),
            );
        }
        out.push_str("</svg>");
        out
    }

    /// Ticks, grid and names.
    fn axes(&self, out: &mut String, frame: &Frame) {
        for y in ticks(frame.y, 5) {
            let at = frame.y(y);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"tick y\" x=\"{}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                at + 4.0,
                number(y)
            );
        }
        let bottom = frame.top + PLOT;
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{bottom}\" y2=\"{bottom}\"/>",
            WIDTH - RIGHT
        );
        let named: Vec<(f64, String)> = match self.names.is_empty() {
            true => ticks(frame.x, 6)
                .into_iter()
                // Steps are whole.
                .filter(|x| x.fract() == 0.0)
                .map(|x| (x, number(x)))
                .collect(),
            false => (0..)
                .map(f64::from)
                .zip(self.names.iter().cloned())
                .collect(),
        };
        for (x, name) in named {
            let _ = write!(
                out,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{}\">{}</text>",
                frame.x(x),
                bottom + 18.0,
                escape(&name)
            );
        }
        let _ = write!(
            out,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{}\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            bottom + 36.0,
            escape(&self.x)
        );
    }

    fn x_range(&self) -> (f64, f64) {
        if !self.names.is_empty() {
            // Half a step beside the first and the last.
            return (-0.5, self.names.len() as f64 - 0.5);
        }
        let all = self.series.iter().flat_map(|series| &series.points);
        range(all.map(|(x, _)| *x), 0.0)
    }

    fn y_range(&self) -> (f64, f64) {
        let points = self.series.iter().flat_map(|series| &series.points);
        let intervals = self.series.iter().flat_map(|series| &series.intervals);
        let all = points
            .map(|(_, y)| *y)
            .chain(intervals.flatten().copied())
            .chain(self.targets.iter().map(|target| target.value));
        range(all, 0.06)
    }

    fn legend(&self) -> Vec<LegendItem<'_>> {
        let (mut x, mut line) = (LEFT, 0);
        let mut items = Vec::new();
        // The title says what a line is that is alone.
        if self.series.len() == 1 && self.targets.is_empty() {
            return items;
        }
        for (at, series) in self.series.iter().enumerate() {
            // Letters of 12 pixels are about 6.6 wide.
            let width = 18.0 + series.name.chars().count() as f64 * 6.6 + 18.0;
            if x + width > WIDTH - RIGHT && x > LEFT {
                (x, line) = (LEFT, line + 1);
            }
            items.push(LegendItem {
                x,
                line,
                colour: at % COLOURS,
                name: &series.name,
            });
            x += width;
        }
        items
    }

    /// The chart for those who can't see it: where each line begins and ends.
    fn spoken(&self) -> String {
        let mut text = format!("{}, over {}.", self.title, self.x);
        for series in &self.series {
            if let (Some(first), Some(last)) = (series.points.first(), series.points.last()) {
                let _ = write!(
                    text,
                    " {}: from {} to {}.",
                    series.name,
                    number(first.1),
                    number(last.1)
                );
            }
        }
        text
    }
}

struct LegendItem<'a> {
    x: f64,
    line: usize,
    colour: usize,
    name: &'a str,
}

fn line(out: &mut String, frame: &Frame, series: &Series, colour: usize, marked: bool) {
    let drawn = thinned(&series.points);
    let path = |points: &[(f64, f64)], class: &str, out: &mut String| {
        let mut d = String::new();
        for (at, (x, y)) in points.iter().enumerate() {
            let letter = if at == 0 { 'M' } else { 'L' };
            let _ = write!(d, "{letter}{:.1} {:.1}", frame.x(*x), frame.y(*y));
        }
        let _ = write!(out, "<path class=\"{class} s{colour}\" d=\"{d}\"/>");
    };
    if series.points.len() > SMOOTH_FROM && !marked && series.noisy {
        path(&drawn, "raw", out);
        path(&thinned(&smoothed(&series.points)), "line", out);
    } else {
        path(&drawn, "line", out);
    }
    if !marked && series.points.len() > 1 {
        return;
    }
    for (at, (x, y)) in drawn.iter().enumerate() {
        let (x, y) = (frame.x(*x), frame.y(*y));
        if let Some([low, high]) = series.intervals.get(at) {
            let (low, high) = (frame.y(*low), frame.y(*high));
            let _ = write!(
                out,
                "<path class=\"whisker s{colour}\" d=\"M{x:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h8M{:.1} {high:.1}h8\"/>",
                x - 4.0,
                x - 4.0
            );
        }
        let _ = write!(
            out,
            "<circle class=\"f{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"
        );
    }
}

/// The lowest and the highest number, with a share of their distance beside them.
fn range(values: impl Iterator<Item = f64>, beside: f64) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if low > high {
        return (0.0, 1.0);
    }
    if low == high {
        return match low {
            0.0 => (0.0, 1.0),
            _ => (low - low.abs() * 0.1, high + high.abs() * 0.1),
        };
    }
    let room = (high - low) * beside;
    // A chart of what is never negative does not begin below zero.
    let floor = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
    ((low - room).max(floor), high + room)
}

/// Round numbers within a range, about `count` of them.
fn ticks((low, high): (f64, f64), count: usize) -> Vec<f64> {
    let rough = (high - low) / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    let first = (low / step).ceil();
    let last = (high / step).floor();
    let mut ticks = Vec::new();
    let mut at = first;
    while at <= last && ticks.len() <= 2 * count {
        // Not -0.
        ticks.push(at * step + 0.0);
        at += 1.0;
    }
    ticks
}

/// The lowest and the highest point of each column where there are more points than columns.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let points: Vec<(f64, f64)> = points
        .iter()
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .copied()
        .collect();
    if points.len() <= POINTS_MAX {
        return points;
    }
    let per_column = points.len().div_ceil(POINTS_MAX / 2);
    let mut kept = Vec::with_capacity(POINTS_MAX);
    for column in points.chunks(per_column) {
        let by_y = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let low = column.iter().min_by(by_y);
        let high = column.iter().max_by(by_y);
        let (Some(low), Some(high)) = (low, high) else {
            continue;
        };
        let (first, second) = if low.0 <= high.0 {
            (low, high)
        } else {
            (high, low)
        };
        kept.push(*first);
        if first != second {
            kept.push(*second);
        }
    }
    kept
}

/// Mean over the neighbours of each point, a fortieth of the line on either side, fewer at its ends.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let points: Vec<(f64, f64)> = points
        .iter()
        .filter(|(_, y)| y.is_finite())
        .copied()
        .collect();
    let reach = (points.len() / 40).max(2);
    (0..points.len())
        .map(|at| {
            // The same number on both sides, so that a slope stays where it is.
            let reach = reach.min(at).min(points.len() - 1 - at);
            let near = &points[at - reach..=at + reach];
            let sum: f64 = near.iter().map(|(_, y)| y).sum();
            (points[at].0, sum / near.len() as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch ticks that are not round, or lie beside the range.
    #[test]
    fn ticks_are_round() {
        let check = |range: (f64, f64), count: usize, expected: &str| {
            let shown: Vec<String> = ticks(range, count).into_iter().map(number).collect();
            assert_eq!(shown.join(" "), expected);
        };
        check((0.0, 1.0), 5, "0 0.2 0.4 0.6 0.8 1");
        check((-3.0, 7.0), 5, "-2 0 2 4 6");
        check((1.0, 400.0), 6, "100 200 300 400");
    }

    /// Would catch peaks that are thinned away, and numbers that are none in a path.
    #[test]
    fn peaks_stay_and_gaps_are_left_out() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 0.0)).collect();
        points[5_001].1 = 9.0;
        points[7_003].1 = f64::NAN;
        let kept = thinned(&points);
        assert!(kept.len() <= POINTS_MAX, "{}", kept.len());
        assert!(kept.contains(&(5_001.0, 9.0)));
        let chart = Chart {
            title: "a <b>".into(),
            x: "step".into(),
            series: vec![Series {
                name: "c & d".into(),
                points,
                noisy: true,
                ..Series::default()
            }],
            ..Chart::default()
        };
        for svg in [chart.svg(), chart.file()] {
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(svg.contains("c &amp; d") && !svg.contains("<b>"));
        }
    }
}
