//! The site manager alone, step by step.
