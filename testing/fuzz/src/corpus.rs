use crate::Random;

/// Inputs to be changed again: at most so many, in which new ones take the place of any.
#[derive(Clone, Debug)]
pub struct Corpus<T> {
    inputs: Vec<T>,
    inputs_max: usize,
}

impl<T> Corpus<T> {
    /// Begins with `seeds`, which are not none.
    pub fn new(seeds: Vec<T>, inputs_max: usize) -> Self {
        assert!(!seeds.is_empty(), "a fuzzer has to begin with something");
        Self { inputs: seeds, inputs_max }
    }

    /// Any of them.
    pub fn pick(&self, random: &mut Random) -> &T {
        random.pick(&self.inputs)
    }

    /// Keeps an input.
    pub fn keep(&mut self, random: &mut Random, input: T) {
        if self.inputs.len() < self.inputs_max {
            self.inputs.push(input);
        } else {
            let at = random.below(self.inputs.len());
            self.inputs[at] = input;
        }
    }
}
