//! Python's marshal, version 2: the types of pstats files.
//!
//! Job: bytes for `marshal.loads` of any Python 3. Invariant: version 2, so no references and no short strings.
//! Neighbour: `pstats` chooses the values.

/// Writes marshalled values one after the other.
#[derive(Default)]
pub(crate) struct Marshal(Vec<u8>);

impl Marshal {
    /// The bytes.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// An int.
    pub(crate) fn int(&mut self, value: i32) {
        self.0.push(b'i');
        self.0.extend(value.to_le_bytes());
    }

    /// A float.
    pub(crate) fn float(&mut self, value: f64) {
        self.0.push(b'g');
        self.0.extend(value.to_le_bytes());
    }

    /// A str.
    pub(crate) fn text(&mut self, value: &str) {
        self.0.push(b'u');
        self.length(value.len());
        self.0.extend(value.as_bytes());
    }

    /// The start of a tuple of `length` values, which follow.
    pub(crate) fn tuple(&mut self, length: usize) {
        self.0.push(b'(');
        self.length(length);
    }

    /// The start of a dict, whose keys and values follow in turn.
    pub(crate) fn dict(&mut self) {
        self.0.push(b'{');
    }

    /// The end of a dict.
    pub(crate) fn end_dict(&mut self) {
        self.0.push(b'0');
    }

    fn length(&mut self, length: usize) {
        // Names and tuples are short. Python could not read a length that does not fit.
        self.0.extend(i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes());
    }
}
