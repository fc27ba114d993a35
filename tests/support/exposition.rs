//! A strict reader of the OpenMetrics text format 1.0, as far as counters, gauges and histograms go. What the
//! format does not allow is an error, never a guess.

use std::collections::{BTreeMap, BTreeSet};

type Labels = BTreeMap<String, String>;

/// One line with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: Labels,
    pub value: f64,
}

/// A family of metrics: its type, unit and help, and all its samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    pub kind: String,
    pub unit: Option<String>,
    pub help: Option<String>,
    pub samples: Vec<Sample>,
}

pub type Families = BTreeMap<String, Family>;

type Outcome<T> = Result<T, String>;

/// Reads a whole text.
pub fn parse(text: &str) -> Outcome<Families> {
    let body = text.strip_suffix("# EOF\n").ok_or("no end")?;
    if !body.is_empty() && !body.ends_with('\n') {
        return Err("the end is not on a line of its own".into());
    }
    let mut families = Families::new();
    let mut current = None::<String>;
    for line in body.lines() {
        if line.contains('\r') {
            return Err("a carriage return".into());
        }
        match line.strip_prefix("# ") {
            Some(metadata) => take_metadata(metadata, &mut current, &mut families)?,
            None => {
                let name = current.as_ref().ok_or("a sample before any type")?;
                let sample = sample(line)?;
                families.get_mut(name).ok_or("no family")?.samples.push(sample);
            }
        }
    }
    check(&families)?;
    Ok(families)
}

fn take_metadata(line: &str, current: &mut Option<String>, families: &mut Families) -> Outcome<()> {
    let mut parts = line.splitn(3, ' ');
    let (Some(keyword), Some(name), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(format!("{line} is no metadata"));
    };
    if !is_name(name, true) {
        return Err(format!("{name} is no name"));
    }
    if current.as_deref() != Some(name) {
        if families.insert(name.into(), Family::default()).is_some() {
            return Err(format!("{name} comes twice"));
        }
        *current = Some(name.into());
    }
    let family = families.get_mut(name).ok_or("no family")?;
    if !family.samples.is_empty() {
        return Err(format!("metadata of {name} behind its samples"));
    }
    let was_there = match keyword {
        "TYPE" if ["counter", "gauge", "histogram"].contains(&rest) => {
            !std::mem::replace(&mut family.kind, rest.into()).is_empty()
        }
        "UNIT" if name.ends_with(&format!("_{rest}")) && is_name(rest, false) => {
            family.unit.replace(rest.into()).is_some()
        }
        "HELP" => family.help.replace(unescape(rest)?).is_some(),
        _ => return Err(format!("{line} has no meaning")),
    };
    if was_there { Err(format!("{keyword} of {name} comes twice")) } else { Ok(()) }
}

fn is_name(name: &str, with_colon: bool) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (with_colon && byte == b':');
    !name.is_empty() && name.bytes().all(is_letter) && !name.starts_with(|first: char| first.is_ascii_digit())
}

fn unescape(text: &str) -> Outcome<String> {
    let (mut plain, mut letters) = (String::new(), text.chars());
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some(escaped @ ('\\' | '"')) => escaped,
                other => return Err(format!("{other:?} is escaped")),
            },
            '"' | '\n' => return Err(format!("{letter:?} is not escaped in {text}")),
            other => other,
        });
    }
    Ok(plain)
}

fn sample(line: &str) -> Outcome<Sample> {
    let end = line.find(['{', ' ']).ok_or_else(|| format!("{line:?} is no sample"))?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name, true) {
        return Err(format!("{name:?} is no name"));
    }
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = read_labels(inside, &mut labels)?;
    }
    let value = rest.strip_prefix(' ').ok_or_else(|| format!("no space before the value of {line}"))?;
    Ok(Sample { name: name.into(), labels, value: number(value)? })
}

/// Returns what lies behind the closing brace.
fn read_labels<'t>(mut rest: &'t str, labels: &mut Labels) -> Outcome<&'t str> {
    loop {
        let (name, behind) = rest.split_once("=\"").ok_or_else(|| format!("no label in {rest}"))?;
        let mut escaped = false;
        let end = behind.find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        let (value, behind) = behind.split_at(end.ok_or("a label without end")?);
        if !is_name(name, false) || labels.insert(name.into(), unescape(value)?).is_some() {
            return Err(format!("{name:?} is no label's name, or comes twice"));
        }
        match behind.get(1..2) {
            Some("}") => return Ok(&behind[2..]),
            Some(",") => rest = &behind[2..],
            _ => return Err(format!("{behind:?} behind a label")),
        }
    }
}

/// A number as the format has them: no spaces, no other words than these.
fn number(text: &str) -> Outcome<f64> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => {
            text.parse().map_err(|_| format!("{text:?} is no number"))
        }
        _ => Err(format!("{text:?} is no number")),
    }
}

/// What must hold for a family's samples, and between families.
fn check(families: &Families) -> Outcome<()> {
    let mut names = BTreeMap::new();
    for (name, family) in families {
        let endings: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => return Err(format!("{name} has no type")),
        };
        let mut seen = BTreeSet::new();
        for sample in &family.samples {
            let ending = sample.name.strip_prefix(name.as_str());
            if !ending.is_some_and(|ending| endings.contains(&ending)) {
                return Err(format!("{} is no sample of the {} {name}", sample.name, family.kind));
            }
            if !seen.insert((sample.name.clone(), sample.labels.clone())) {
                return Err(format!("{sample:?} comes twice"));
            }
            if sample.value < 0.0 || sample.value.is_infinite() {
                return Err(format!("{sample:?} has an impossible value"));
            }
        }
        if family.kind == "histogram" {
            check_histogram(name, &family.samples)?;
        }
        // A family's name stands for all that its samples may be called.
        for ending in endings.iter().chain(&[""]).collect::<BTreeSet<_>>() {
            if let Some(other) = names.insert(format!("{name}{ending}"), name) {
                return Err(format!("{name} and {other} are in each other's way"));
            }
        }
    }
    Ok(())
}

/// All buckets of an instance, in order and adding up, then its sum and its count.
fn check_histogram(name: &str, samples: &[Sample]) -> Outcome<()> {
    let mut instances = BTreeSet::new();
    let mut rest = samples.iter().peekable();
    while let Some(first) = rest.peek() {
        let mut labels = first.labels.clone();
        labels.remove("le");
        if !instances.insert(labels.clone()) {
            return Err(format!("samples of {name}{labels:?} lie apart"));
        }
        let (mut bound, mut count) = (f64::NEG_INFINITY, 0.0);
        while let Some(bucket) = rest.next_if(|sample| sample.name.ends_with("_bucket")) {
            let mut own = bucket.labels.clone();
            let le = own.remove("le").ok_or_else(|| format!("a bucket of {name} without bound"))?;
            let next = number(&le)?;
            if own != labels || next <= bound || bucket.value < count || !(le.contains('.') || le == "+Inf") {
                return Err(format!("{bucket:?} is out of order"));
            }
            (bound, count) = (next, bucket.value);
        }
        let ends = [rest.next(), rest.next()];
        let [Some(sum), Some(number)] = ends else { return Err(format!("{name} ends early")) };
        if bound != f64::INFINITY || !sum.name.ends_with("_sum") || !number.name.ends_with("_count") {
            return Err(format!("{name} is not complete"));
        }
        if sum.labels != labels || number.labels != labels || number.value != count {
            return Err(format!("{name}{labels:?} does not count what is in its buckets"));
        }
    }
    Ok(())
}
