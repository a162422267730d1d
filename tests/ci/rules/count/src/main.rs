fn main() {
    let words = std::env::args().skip(1).count();
    let unit = if cfg!(feature = "upper") { "WORDS" } else { "words" };
    println!("{} {unit}", digits::digits(words));
}
