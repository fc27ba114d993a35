//! A line of JSON for each figure.

use crate::catalogue::Group;
use crate::child::Figure;

pub fn line(round: usize, group: &Group, engine: &str, figure: &Figure) -> String {
    let unit = group.cells.iter().find(|cell| cell.name == figure.cell).map_or("", |cell| cell.unit);
    let raw = figure.raw.map_or("null".into(), |raw| raw.to_string());
    // None of the words needs escaping: they are all in the catalogue.
    format!(
        "{{\"round\":{},\"layer\":\"{}\",\"group\":\"{}\",\"cell\":\"{}\",\"engine\":\"{engine}\",\"value\":{},\"raw\":{raw},\"unit\":\"{unit}\"}}",
        round + 1,
        group.layer.name(),
        group.name,
        figure.cell,
        figure.value
    )
}
