//! Who gets stock that is short: in the order of arrival, everything asked for or nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Quantity, ShortLine, Sku};

/// One SKU's share of a reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLine {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// What is left of each SKU while requests are admitted. A SKU that is not there has never been
/// received, and so has nothing left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stock(BTreeMap<Sku, i64>);

impl Stock {
    /// From what is available of each SKU, in units.
    pub fn new(available: impl IntoIterator<Item = (Sku, i64)>) -> Self {
        Self(available.into_iter().collect())
    }

    /// Takes every line of a request, or nothing: then all of its lines that are short. A SKU that
    /// stands on several lines is short if their sum is.
    pub fn admit(&mut self, lines: &[StockLine]) -> Result<(), Vec<ShortLine>> {
        let mut wanted: BTreeMap<&Sku, i64> = BTreeMap::new();
        for line in lines {
            *wanted.entry(&line.sku).or_default() += i64::from(line.quantity);
        }
        let short: Vec<ShortLine> = wanted
            .iter()
            .map(|(sku, wanted)| ShortLine {
                sku: (*sku).clone(),
                wanted: *wanted,
                available: self.available(sku),
            })
            .filter(|line| line.available < line.wanted)
            .collect();
        if !short.is_empty() {
            return Err(short);
        }
        for (sku, wanted) in wanted {
            if let Some(available) = self.0.get_mut(sku) {
                *available -= wanted;
            }
        }
        Ok(())
    }

    /// How many units are left.
    pub fn available(&self, sku: &Sku) -> i64 {
        self.0.get(sku).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sku(name: &str) -> Sku {
        name.to_owned().try_into().expect("a SKU")
    }

    fn line(name: &str, quantity: i64) -> StockLine {
        StockLine { sku: sku(name), quantity: quantity.try_into().expect("a quantity") }
    }

    #[test]
    fn one_short_line_refuses_all_and_takes_nothing() {
        let mut stock = Stock::new([(sku("MUG"), 5), (sku("CUP"), 1)]);

        let short = stock.admit(&[line("CUP", 2), line("MUG", 1), line("POT", 3)]);

        let expected = vec![
            ShortLine { sku: sku("CUP"), wanted: 2, available: 1 },
            ShortLine { sku: sku("POT"), wanted: 3, available: 0 },
        ];
        assert_eq!(short, Err(expected));
        assert_eq!(stock, Stock::new([(sku("MUG"), 5), (sku("CUP"), 1)]));
    }

    #[test]
    fn who_comes_after_a_refused_one_may_still_be_served() {
        let mut stock = Stock::new([(sku("MUG"), 5)]);

        assert_eq!(stock.admit(&[line("MUG", 4)]), Ok(()));
        assert!(stock.admit(&[line("MUG", 2)]).is_err());
        assert_eq!(stock.admit(&[line("MUG", 1)]), Ok(()));
        assert_eq!(stock.available(&sku("MUG")), 0);
    }

    #[test]
    fn a_sku_on_two_lines_is_summed() {
        let mut stock = Stock::new([(sku("MUG"), 3)]);

        let short = stock.admit(&[line("MUG", 2), line("MUG", 2)]).expect_err("four of three");

        assert_eq!(short, [ShortLine { sku: sku("MUG"), wanted: 4, available: 3 }]);
    }

    fn lines() -> impl Strategy<Value = Vec<StockLine>> {
        prop::collection::vec((0..4_usize, 1..6_i64), 1..5).prop_map(|lines| {
            lines.into_iter().map(|(which, units)| line(SKUS[which], units)).collect()
        })
    }

    const SKUS: [&str; 4] = ["A", "B", "C", "D"];

    proptest! {
        #[test]
        fn nothing_is_invented_lost_or_oversold(
            available in prop::collection::vec(0..20_i64, SKUS.len()),
            requests in prop::collection::vec(lines(), 0..30),
        ) {
            let start = || SKUS.iter().zip(&available).map(|(name, units)| (sku(name), *units));
            let mut stock = Stock::new(start());
            let mut taken: BTreeMap<Sku, i64> = BTreeMap::new();
            for lines in &requests {
                let before = stock.clone();
                match stock.admit(lines) {
                    Ok(()) => {
                        for line in lines {
                            *taken.entry(line.sku.clone()).or_default() += i64::from(line.quantity);
                        }
                    }
                    Err(short) => {
                        prop_assert!(!short.is_empty());
                        prop_assert!(short.iter().all(|line| line.available < line.wanted));
                        prop_assert_eq!(&stock, &before);
                    }
                }
            }
            for (sku, units) in start() {
                let left = stock.available(&sku);
                prop_assert!(left >= 0);
                prop_assert_eq!(left + taken.get(&sku).copied().unwrap_or(0), units);
            }
        }
    }
}
