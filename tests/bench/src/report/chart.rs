//! Horizontal bars as SVG. It stands in Markdown as an image, so it brings its colours for light and dark pages itself.

use svg::Document;
use svg::node::element::{Rectangle, Style, Text, Title};

/// One bar.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    /// Beside it.
    pub(super) label: String,
    /// Its length.
    pub(super) value: f64,
    /// Behind it.
    pub(super) note: String,
    /// Whether it is what the others are compared with.
    pub(super) is_ours: bool,
}

const WIDTH: f64 = 860.0;
const LABELS: f64 = 250.0;
/// Kept for the notes behind the longest bar.
const NOTES: f64 = 190.0;
const HEAD: f64 = 52.0;
const ROW: f64 = 30.0;
const THICKNESS: f64 = 18.0;

const STYLE: &str = "
text { font: 13px -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.note { fill: #59636e; }
.other { fill: #9aa5b1; }
.ours { fill: #2f7d4f; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .note { fill: #9198a1; }
  .other { fill: #57606a; }
  .ours { fill: #46a568; }
}
";

/// The bars below each other, the longest as long as there is room.
pub(super) fn bars(title: &str, subtitle: &str, bars: &[Bar]) -> String {
    let rows = f64::from(u32::try_from(bars.len()).unwrap_or(u32::MAX));
    let height = HEAD + rows * ROW + 8.0;
    let longest = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let mut document = Document::new()
        .set("viewBox", (0.0, 0.0, WIDTH, height))
        .set("width", WIDTH)
        .set("height", height)
        .set("role", "img")
        .add(Title::new(title))
        .add(Style::new(STYLE))
        .add(text(title, 0.0, 17.0, "start", "title"))
        .add(text(subtitle, 0.0, 37.0, "start", "note"));
    let mut top = HEAD;
    for bar in bars {
        let length = (bar.value / longest * (WIDTH - LABELS - NOTES)).max(1.0);
        let baseline = top + THICKNESS / 2.0 + 4.5;
        document = document
            .add(text(&bar.label, LABELS - 10.0, baseline, "end", "label"))
            .add(
                Rectangle::new()
                    .set("x", LABELS)
                    .set("y", top)
                    .set("width", length.round())
                    .set("height", THICKNESS)
                    .set("rx", 2)
                    .set("class", if bar.is_ours { "ours" } else { "other" }),
            )
            .add(text(
                &bar.note,
                LABELS + length.round() + 8.0,
                baseline,
                "start",
                "note",
            ));
        top += ROW;
    }
    document.to_string() + "\n"
}

fn text(text: &str, x: f64, y: f64, anchor: &str, class: &str) -> Text {
    Text::new(text)
        .set("x", x)
        .set("y", y)
        .set("text-anchor", anchor)
        .set("class", class)
}
