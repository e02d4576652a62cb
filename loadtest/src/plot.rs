//! A plot of lines as SVG.

use std::fmt::Write;

use crate::html::escape;
use crate::table::number;

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 40.0;

/// One line of a plot.
#[derive(Clone, Debug)]
pub struct Line {
    /// Whose it is.
    pub name: String,
    /// Zero for the first broker, one for the second: the colour.
    pub side: usize,
    /// The points, ascending in x.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot<'a> {
    /// What it shows.
    pub title: &'a str,
    /// The horizontal axis.
    pub x_name: &'a str,
    /// The vertical axis.
    pub y_name: &'a str,
    /// The vertical axis goes by powers of ten.
    pub is_logarithmic: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One axis: from values to the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    min: f64,
    max: f64,
    is_logarithmic: bool,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, is_logarithmic: bool) -> Self {
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            min = min.min(value);
            max = max.max(value);
        }
        if min > max {
            (min, max) = (1.0, 1.0);
        }
        if is_logarithmic {
            let min = 10f64.powf(min.max(1e-6).log10().floor());
            let max = 10f64.powf(max.max(1e-6).log10().ceil()).max(min * 10.0);
            return Self { min, max, is_logarithmic };
        }
        let min = min.min(0.0);
        let step = step((max - min).max(1e-9));
        Self { min, max: (max / step).ceil().max(1.0) * step, is_logarithmic }
    }

    /// Where a value lies between 0 and 1.
    fn place(&self, value: f64) -> f64 {
        if self.is_logarithmic {
            (value.max(self.min) / self.min).log10() / (self.max / self.min).log10()
        } else {
            (value - self.min) / (self.max - self.min)
        }
    }

    fn ticks(&self) -> Vec<f64> {
        if self.is_logarithmic {
            let first = self.min.log10().round() as i32;
            let last = self.max.log10().round() as i32;
            return (first..=last).map(|power| 10f64.powi(power)).collect();
        }
        let step = step(self.max - self.min);
        let count = ((self.max - self.min) / step).round() as usize;
        (0..=count).map(|index| self.min + step * index as f64).collect()
    }
}

/// A round distance that divides a length into about five.
fn step(length: f64) -> f64 {
    let rough = length / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough);
    factor.unwrap_or(10.0) * power
}

impl Plot<'_> {
    /// The picture.
    #[must_use]
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x_axis = Axis::over(points().map(|point| point.0), false);
        let y_axis = Axis::over(points().map(|point| point.1), self.is_logarithmic);
        let x = |value: f64| LEFT + x_axis.place(value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - y_axis.place(value) * (HEIGHT - TOP - BOTTOM);
        let mut text = format!(
            "<svg width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-label=\"{title}\">\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"18\">{title}</text>\n",
            title = escape(self.title)
        );
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in y_axis.ticks() {
            let at = y(tick);
            let _ = writeln!(
                text,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                short(tick)
            );
        }
        for tick in x_axis.ticks() {
            let at = x(tick);
            let _ = writeln!(
                text,
                "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                short(tick)
            );
        }
        let _ = writeln!(
            text,
            "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            bottom + 32.0,
            escape(self.x_name),
            LEFT - 6.0,
            TOP - 12.0,
            escape(self.y_name)
        );
        for line in self.lines.iter().filter(|line| line.points.len() > 1) {
            let class = side_class(line.side);
            let _ = write!(text, "<polyline class=\"{class}\" points=\"");
            for &(at_x, at_y) in &line.points {
                let _ = write!(text, "{:.1},{:.1} ", x(at_x), y(at_y));
            }
            text.push_str("\"/>\n");
        }
        text.push_str(&self.legend());
        text.push_str("</svg>\n");
        text
    }

    fn legend(&self) -> String {
        let mut text = String::new();
        for side in 0..2 {
            if let Some(line) = self.lines.iter().find(|line| line.side == side) {
                let _ = writeln!(
                    text,
                    "<text class=\"{}-text\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                    side_class(side),
                    WIDTH - RIGHT,
                    18 + 14 * side,
                    escape(&line.name)
                );
            }
        }
        text
    }
}

fn side_class(side: usize) -> &'static str {
    if side == 0 { "a" } else { "b" }
}

/// A tick's text.
fn short(value: f64) -> String {
    if value.abs() >= 1e6 {
        return format!("{} M", trimmed(value / 1e6));
    }
    if value.abs() >= 1e4 {
        return format!("{} k", trimmed(value / 1e3));
    }
    if value.abs() >= 1e3 { number(value) } else { trimmed(value) }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let axis = Axis::over([3.0, 117.0].into_iter(), false);
        assert_eq!(axis.ticks(), [0.0, 25.0, 50.0, 75.0, 100.0, 125.0]);
        let powers = Axis::over([0.03, 7.0].into_iter(), true);
        assert_eq!(powers.ticks().len(), 4);
        assert!((powers.place(0.01), powers.place(10.0)) == (0.0, 1.0));
    }

    #[test]
    fn no_value_and_equal_values_make_an_axis_too() {
        for values in [vec![], vec![0.0, 0.0], vec![5.0, 5.0], vec![f64::NAN]] {
            for is_logarithmic in [false, true] {
                let axis = Axis::over(values.iter().copied(), is_logarithmic);
                let places = axis.ticks().into_iter().map(|tick| axis.place(tick));
                assert!(places.clone().count() < 20, "{values:?}");
                assert!(places.clone().all(f64::is_finite), "{values:?} {axis:?}");
            }
        }
    }

    #[test]
    fn tick_texts_are_short() {
        let shown = [0.001, 0.5, 25.0, 2500.0, 20_000.0, 1_500_000.0].map(short);
        assert_eq!(shown, ["0.001", "0.5", "25", "2,500", "20 k", "1.5 M"]);
    }
}
