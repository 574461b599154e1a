//! Rows of the embedding table: gather, and the gradient's scatter.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::cpu::{self, Shared};
#[cfg(feature = "cuda")]
use super::cuda;

/// Rows `ids` of `table` `[V, H]`: `[T, H]`. Also gathers rows of activations.
pub fn gather(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let (rows, width) = table.dims2()?;
    check(ids, rows)?;
    if !cpu::fused([table]) {
        return table.index_select(&Tensor::new(ids, table.device())?, 0);
    }
    let y = cpu::read([table], |[table]| {
        let mut y = cpu::buffer(ids.len() * width);
        for (y, id) in y.chunks_exact_mut(width).zip(ids) {
            y.copy_from_slice(&table[*id as usize * width..][..width]);
        }
        y
    })?;
    cpu::tensor(y, (ids.len(), width))
}

/// Adds row `i` of `dy` `[T, H]` to row `ids[i]` of `gradient` `[V, H]`.
pub fn scatter_add(gradient: &mut Tensor, ids: &[u32], dy: &Tensor) -> Result<()> {
    let (rows, width) = gradient.dims2()?;
    check(ids, rows)?;
    if dy.dims() != [ids.len(), width] {
        candle_core::bail!("scatter_add: {} ids for {:?}", ids.len(), dy.dims());
    }
    #[cfg(feature = "cuda")]
    if cuda::fused_f32([gradient, dy]) {
        return cuda::scatter_add(gradient, ids, dy);
    }
    if !cpu::fused([gradient, dy]) {
        *gradient = gradient.index_add(&Tensor::new(ids, dy.device())?, dy, 0)?;
        return Ok(());
    }
    cpu::read([dy], |[dy]| {
        cpu::write(gradient, |gradient| {
            let out = Shared::new(gradient);
            // Threads share out columns, not rows: rows may repeat, and their order stays fixed.
            let step = width
                .div_ceil(rayon::current_num_threads())
                .next_multiple_of(16)
                .min(width);
            (0..width.div_ceil(step)).into_par_iter().for_each(|part| {
                let (first, count) = (part * step, step.min(width - part * step));
                for (id, dy) in ids.iter().zip(dy.chunks_exact(width)) {
                    // SAFETY: ids are below the number of rows; no other task has these columns.
                    let row = unsafe { out.slice(*id as usize * width + first, count) };
                    for (sum, value) in row.iter_mut().zip(&dy[first..first + count]) {
                        *sum += value;
                    }
                }
            });
        })
    })?
}

fn check(ids: &[u32], rows: usize) -> Result<()> {
    match ids.iter().find(|id| **id as usize >= rows) {
        Some(id) => candle_core::bail!("row {id} of a table of {rows} rows"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, check_gradient, random, random64, weighted_sum};
    use super::*;
    use crate::ops::without_fused_kernels;

    // Would catch rows that overwrite each other where an id repeats.
    #[test]
    fn scatter_is_the_gradient_of_gather() -> Result<()> {
        let (table, dy, ids) = (random64((4, 3), 1), random64((5, 3), 2), [0, 2, 2, 3, 2]);
        let mut gradient = table.zeros_like()?;
        scatter_add(&mut gradient, &ids, &dy)?;
        check_gradient(&table, &gradient, |table| {
            weighted_sum(&gather(table, &ids)?, &dy)
        });
        Ok(())
    }

    // Would catch columns lost between tasks.
    #[test]
    fn kernels_agree_with_tensors() -> Result<()> {
        let (table, dy, ids) = (random((9, 70), 1), random((5, 70), 2), [8, 2, 2, 3, 0]);
        let run = || -> Result<[Tensor; 2]> {
            let mut gradient = table.copy()?;
            scatter_add(&mut gradient, &ids, &dy)?;
            Ok([gather(&table, &ids)?, gradient])
        };
        for (a, b) in run()?.iter().zip(&without_fused_kernels(run)?) {
            assert_close(a, b, 1e-6);
        }
        Ok(())
    }

    // Would catch a read beyond the table.
    #[test]
    fn an_id_beyond_the_table_is_refused() {
        assert!(gather(&random((4, 3), 1), &[4]).is_err());
    }
}
