//! Numbers for a script, packed into one argument: Lua unpacks an array (MessagePack) in a fraction
//! of the time that as many arguments take.

/// The numbers that tell how the other arguments of a call are to be read.
#[derive(Debug)]
pub struct Shape {
    numbers: Vec<u64>,
}

impl Shape {
    /// With room for so many.
    pub fn with_capacity(numbers: usize) -> Self {
        Self { numbers: Vec::with_capacity(numbers) }
    }

    /// Adds a number.
    pub fn push(&mut self, number: u64) -> &mut Self {
        self.numbers.push(number);
        self
    }

    /// Adds a number of things.
    pub fn count(&mut self, things: usize) -> &mut Self {
        self.push(things as u64)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// For the script's `cmsgpack.unpack`.
    pub fn packed(&self) -> Vec<u8> {
        let mut packed = Vec::with_capacity(5 + self.numbers.len() * 2);
        let length = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        // Writing to memory does not fail.
        let _ = rmp::encode::write_array_len(&mut packed, length);
        for number in &self.numbers {
            let _ = rmp::encode::write_uint(&mut packed, *number);
        }
        packed
    }
}
