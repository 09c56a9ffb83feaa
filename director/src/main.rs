fn main() {
    use clap::Parser;
    calls_director::cli::Cli::parse();
}
