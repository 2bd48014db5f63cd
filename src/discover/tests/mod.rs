mod finding;
mod writing;
