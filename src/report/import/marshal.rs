//! A reader of Python's marshal format, as far as files of cProfile use it.
//!
//! Job: bytes to values. Invariants: bounded depth and memory for any input; `None` for what is damaged or of another
//! type. Neighbour: `cprofile`.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// `None`, and the end of a dict.
    Nothing,
    Int(i64),
    Float(f64),
    Text(String),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
}

/// Nesting of the files: a dict of tuples with a dict of tuples.
const DEEPEST: usize = 8;
/// Bit of a type: the value gets a number, and later values may refer to the number.
const NUMBERED: u8 = 0x80;

/// Reads a value from all bytes.
pub(super) fn read(bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader { bytes, known: Vec::new() };
    let value = reader.value(0)?;
    reader.bytes.is_empty().then_some(value)
}

struct Reader<'a> {
    bytes: &'a [u8],
    known: Vec<Value>,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*head)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(i32::from_le_bytes(self.take()?)).ok()
    }

    fn text(&mut self, length: usize) -> Option<Value> {
        let (head, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(Value::Text(String::from_utf8_lossy(head).into_owned()))
    }

    fn items(&mut self, length: usize, depth: usize) -> Option<Value> {
        // Each item takes a byte at least.
        (length <= self.bytes.len()).then_some(())?;
        (0..length).map(|_| self.value(depth + 1)).collect::<Option<Vec<_>>>().map(Value::Tuple)
    }

    fn dict(&mut self, depth: usize) -> Option<Value> {
        let mut entries = Vec::new();
        loop {
            match self.value(depth + 1)? {
                Value::Nothing => return Some(Value::Dict(entries)),
                key => entries.push((key, self.value(depth + 1)?)),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        (depth <= DEEPEST).then_some(())?;
        let [kind] = self.take()?;
        let number = (kind & NUMBERED != 0).then(|| {
            self.known.push(Value::Nothing);
            self.known.len() - 1
        });
        let value = match kind & !NUMBERED {
            b'0' | b'N' => Value::Nothing,
            b'i' => Value::Int(i32::from_le_bytes(self.take()?).into()),
            b'I' => Value::Int(i64::from_le_bytes(self.take()?)),
            b'l' => self.long()?,
            b'g' => Value::Float(f64::from_le_bytes(self.take()?)),
            b'z' | b'Z' => {
                let [length] = self.take()?;
                self.text(length.into())?
            }
            b'a' | b'A' | b'u' | b't' => {
                let length = self.length()?;
                self.text(length)?
            }
            b')' => {
                let [length] = self.take()?;
                self.items(length.into(), depth)?
            }
            b'(' => {
                let length = self.length()?;
                self.items(length, depth)?
            }
            b'{' => self.dict(depth)?,
            b'r' => {
                let number = self.length()?;
                match self.known.get(number)? {
                    // A copy of a large value for each of its names could take any amount of memory.
                    Value::Dict(_) => return None,
                    value => value.clone(),
                }
            }
            _ => return None,
        };
        if let Some(number) = number {
            self.known[number] = value.clone();
        }
        Some(value)
    }

    /// An int in digits of 15 bits, as marshal writes above 32 bits.
    fn long(&mut self) -> Option<Value> {
        let count = i32::from_le_bytes(self.take()?);
        let mut value: i64 = 0;
        for digit in 0..count.unsigned_abs() {
            let part = i64::from(u16::from_le_bytes(self.take()?));
            value = value.checked_add(part.checked_mul(1_i64.checked_shl(15 * digit).filter(|_| digit < 4)?)?)?;
        }
        Some(Value::Int(if count < 0 { -value } else { value }))
    }
}
