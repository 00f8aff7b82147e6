//! A second opinion: the phases of a build computed afresh from the list of what was said, as their definition reads, and
//! compared with what was folded.
