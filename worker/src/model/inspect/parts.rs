//! Nodes, attributes and tensors of a graph. Every walk ends where its message ends, and how deep it goes is counted.

use super::limits::{
    DOMAINS, MAX_DESCRIPTION, MAX_INITIALIZERS, MAX_NESTING, MAX_NODES, MAX_RANK, REFUSED_OPERATORS,
};
use super::walker::Walker;
use super::{Found, InspectError, description};

const NODE: u32 = 1;
const INITIALIZER: u32 = 5;
const INPUT: u32 = 11;
const OUTPUT: u32 = 12;
const SPARSE_INITIALIZER: u32 = 15;

const NODE_OPERATOR: u32 = 4;
const NODE_ATTRIBUTE: u32 = 5;
const NODE_DOMAIN: u32 = 7;

const ATTRIBUTE_TENSOR: u32 = 5;
const ATTRIBUTE_GRAPH: u32 = 6;
const ATTRIBUTE_TENSORS: u32 = 10;
const ATTRIBUTE_GRAPHS: u32 = 11;
const ATTRIBUTE_SPARSE_TENSOR: u32 = 22;
const ATTRIBUTE_SPARSE_TENSORS: u32 = 23;

const TENSOR_DIMENSIONS: u32 = 1;
const TENSOR_TYPE: u32 = 2;
const TENSOR_NAME: u32 = 8;
const TENSOR_RAW_DATA: u32 = 9;
const TENSOR_EXTERNAL_DATA: u32 = 13;
const TENSOR_DATA_LOCATION: u32 = 14;

pub(super) fn graph(
    walker: &mut Walker,
    end: u64,
    found: &mut Found,
    depth: usize,
) -> Result<(), InspectError> {
    if depth > MAX_NESTING {
        return Err(InspectError::TooMuch { what: "graphs inside of graphs", limit: MAX_NESTING });
    }
    while let Some(field) = walker.field(end)? {
        let inner_end = walker.position() + field.length.unwrap_or(0);
        match (field.number, field.length) {
            (NODE, Some(_)) => node(walker, inner_end, found, depth)?,
            (INITIALIZER, Some(_)) => {
                found.initializer_count += 1;
                if found.initializer_count > MAX_INITIALIZERS {
                    return Err(InspectError::TooMuch { what: "initializers", limit: MAX_INITIALIZERS });
                }
                let name = tensor(walker, inner_end)?;
                if depth == 0 {
                    found.initializers.extend(name);
                }
            }
            (SPARSE_INITIALIZER, Some(_)) => sparse_tensor(walker, inner_end)?,
            // Those of inner graphs are between its nodes.
            (INPUT, Some(length)) if depth == 0 => found.inputs.push(description(walker, length)?),
            (OUTPUT, Some(length)) if depth == 0 => found.outputs.push(description(walker, length)?),
            _ => walker.skip(&field)?,
        }
        found.check_described()?;
    }
    Ok(())
}

fn node(walker: &mut Walker, end: u64, found: &mut Found, depth: usize) -> Result<(), InspectError> {
    found.nodes += 1;
    if found.nodes > MAX_NODES {
        return Err(InspectError::TooMuch { what: "nodes", limit: MAX_NODES });
    }
    while let Some(field) = walker.field(end)? {
        let inner_end = walker.position() + field.length.unwrap_or(0);
        match (field.number, field.length) {
            (NODE_OPERATOR, Some(length)) => {
                let operator = walker.text(length, MAX_DESCRIPTION)?;
                if REFUSED_OPERATORS.contains(&operator.as_str()) {
                    return Err(InspectError::Operator { operator });
                }
            }
            (NODE_DOMAIN, Some(length)) => {
                let domain = walker.text(length, MAX_DESCRIPTION)?;
                if !DOMAINS.iter().any(|(known, _)| *known == domain) {
                    return Err(InspectError::Domain { domain });
                }
            }
            (NODE_ATTRIBUTE, Some(_)) => attribute(walker, inner_end, found, depth)?,
            _ => walker.skip(&field)?,
        }
    }
    Ok(())
}

fn attribute(walker: &mut Walker, end: u64, found: &mut Found, depth: usize) -> Result<(), InspectError> {
    while let Some(field) = walker.field(end)? {
        let inner_end = walker.position() + field.length.unwrap_or(0);
        match (field.number, field.length) {
            (ATTRIBUTE_GRAPH | ATTRIBUTE_GRAPHS, Some(_)) => graph(walker, inner_end, found, depth + 1)?,
            (ATTRIBUTE_TENSOR | ATTRIBUTE_TENSORS, Some(_)) => {
                tensor(walker, inner_end)?;
            }
            (ATTRIBUTE_SPARSE_TENSOR | ATTRIBUTE_SPARSE_TENSORS, Some(_)) => {
                sparse_tensor(walker, inner_end)?;
            }
            _ => walker.skip(&field)?,
        }
    }
    Ok(())
}

/// Values and indices are tensors.
fn sparse_tensor(walker: &mut Walker, end: u64) -> Result<(), InspectError> {
    while let Some(field) = walker.field(end)? {
        let inner_end = walker.position() + field.length.unwrap_or(0);
        match (field.number, field.length) {
            (1 | 2, Some(_)) => {
                tensor(walker, inner_end)?;
            }
            _ => walker.skip(&field)?,
        }
    }
    Ok(())
}

/// The name, which older files list among the inputs as well.
fn tensor(walker: &mut Walker, end: u64) -> Result<Option<String>, InspectError> {
    let message_bytes = end.saturating_sub(walker.position());
    let mut name = None;
    let mut size = Size { rank: 0, elements: Some(1), element_bytes: None, raw_bytes: None };
    while let Some(field) = walker.field(end)? {
        let inner_end = walker.position() + field.length.unwrap_or(0);
        match (field.number, field.length) {
            (TENSOR_DIMENSIONS, None) => size.dimension(field.value)?,
            (TENSOR_DIMENSIONS, Some(_)) => {
                while walker.position() < inner_end {
                    size.dimension(walker.number(inner_end)?)?;
                }
            }
            (TENSOR_TYPE, None) => size.element_bytes = element_bytes(field.value),
            (TENSOR_NAME, Some(length)) => name = Some(walker.text(length, MAX_DESCRIPTION)?),
            (TENSOR_EXTERNAL_DATA, _) => return Err(InspectError::ExternalData),
            (TENSOR_DATA_LOCATION, None) if field.value != 0 => return Err(InspectError::ExternalData),
            (TENSOR_RAW_DATA, Some(length)) => {
                size.raw_bytes = Some(length);
                walker.skip(&field)?;
            }
            _ => walker.skip(&field)?,
        }
    }
    size.check(message_bytes)?;
    Ok(name)
}

/// What a tensor says about its size, against what it holds.
struct Size {
    rank: usize,
    /// None when the product is beyond all bounds.
    elements: Option<u64>,
    element_bytes: Option<u64>,
    raw_bytes: Option<u64>,
}

impl Size {
    fn dimension(&mut self, size: u64) -> Result<(), InspectError> {
        self.rank += 1;
        if self.rank > MAX_RANK {
            return Err(InspectError::TooMuch { what: "dimensions of a tensor", limit: MAX_RANK });
        }
        self.elements = self.elements.and_then(|elements| elements.checked_mul(size));
        Ok(())
    }

    fn check(&self, message_bytes: u64) -> Result<(), InspectError> {
        let fits = match (self.elements, self.raw_bytes, self.element_bytes) {
            (None, _, _) => false,
            (Some(elements), Some(raw), Some(bytes)) => elements.checked_mul(bytes) == Some(raw),
            // Types of less than a byte, and numbers one by one: at least half a byte for each.
            (Some(elements), _, _) => elements <= message_bytes.saturating_mul(2),
        };
        if fits {
            Ok(())
        } else {
            Err(InspectError::Invalid { reason: "a tensor has not the size that it claims" })
        }
    }
}

/// Of the types whose elements have whole bytes.
fn element_bytes(data_type: u64) -> Option<u64> {
    match data_type {
        2 | 3 | 9 | 17..=20 => Some(1),
        4 | 5 | 10 | 16 => Some(2),
        1 | 6 | 12 => Some(4),
        7 | 11 | 13 | 14 => Some(8),
        15 => Some(16),
        _ => None,
    }
}
