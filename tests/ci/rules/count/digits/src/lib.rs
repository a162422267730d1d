/// The decimal digits of a number; zero is not welcome.
pub fn digits(number: usize) -> String {
    assert!(number > 0, "nothing to count");
    number.to_string()
}
