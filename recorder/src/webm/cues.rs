//! The index: where playing can begin.

use super::{TrackNumber, ebml};

const CUES: u32 = 0x1c53_bb6b;
const CUE_POINT: u32 = 0xbb;
const CUE_TIME: u32 = 0xb3;
const CUE_TRACK_POSITIONS: u32 = 0xb7;
const CUE_TRACK: u32 = 0xf7;
const CUE_CLUSTER_POSITION: u32 = 0xf1;

/// Most entries: of an hour one each second. A longer file has its index thinned out, again and again.
const MOST: usize = 4096;

/// Times in milliseconds, and offsets of clusters within the segment.
#[derive(Debug, Default)]
pub struct Cues {
    points: Vec<(u64, u64)>,
    /// How far apart entries are at least, in milliseconds.
    apart: u64,
}

impl Cues {
    pub fn add(&mut self, time: u64, position: u64) {
        if self.points.last().is_some_and(|(last, _)| time < last + self.apart) {
            return;
        }
        self.points.push((time, position));
        if self.points.len() > MOST {
            self.thin_out();
        }
    }

    fn thin_out(&mut self) {
        self.apart = (2 * self.apart).max(1000);
        let mut last = None;
        let apart = self.apart;
        self.points.retain(|(time, _)| {
            let keep = last.is_none_or(|last| *time >= last + apart);
            if keep {
                last = Some(*time);
            }
            keep
        });
    }

    pub fn write(&self, track: TrackNumber) -> Vec<u8> {
        let mut out = Vec::new();
        ebml::put_master(&mut out, CUES, |cues| {
            for (time, position) in &self.points {
                ebml::put_master(cues, CUE_POINT, |point| {
                    ebml::put_uint(point, CUE_TIME, *time);
                    ebml::put_master(point, CUE_TRACK_POSITIONS, |positions| {
                        ebml::put_uint(positions, CUE_TRACK, track as u64);
                        ebml::put_uint(positions, CUE_CLUSTER_POSITION, *position);
                    });
                });
            }
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_a_very_long_file_is_thinned_out_evenly() {
        let mut cues = Cues::default();
        for second in 0..100_000 {
            cues.add(second * 1000, second);
        }
        assert!((MOST / 2..=MOST).contains(&cues.points.len()), "{}", cues.points.len());
        let steps: Vec<u64> = cues.points.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(steps.iter().all(|step| (32_000..=64_000).contains(step)), "{steps:?}");
    }
}
