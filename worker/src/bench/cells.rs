//! What is measured: which families with which plans.

use shared::{
    families::Family,
    job::{Arch, Engine},
    plans::Plan,
};

use crate::WorkerError;

/// One figure: a family under a standard plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The family.
    pub family: Family,
    /// The plan.
    pub plan: Plan,
}

/// The cells of these families and plans (by letter or by name), all of them where none is named.
/// The structural plan is the processor's alone.
///
/// # Errors
/// [`WorkerError::Setting`] for a plan that does not exist, or when nothing is left to measure.
pub fn cells(families: &[Family], plans: &[String], arch: Arch) -> Result<Vec<Cell>, WorkerError> {
    let is = |plan: &Plan, asked: &String| {
        asked.eq_ignore_ascii_case(plan.name) || asked.eq_ignore_ascii_case(plan.letter())
    };
    if let Some(asked) = plans.iter().find(|asked| !Plan::ALL.iter().any(|plan| is(plan, asked))) {
        let known = Plan::ALL.map(|plan| plan.name).join(", ");
        let why = format!("'{asked}' is no plan; they are A (its thresholds together), {known}");
        return Err(WorkerError::Setting(why));
    }
    let wanted = |plan: &Plan| plans.is_empty() || plans.iter().any(|asked| is(plan, asked));
    let runs = |plan: &Plan| plan.engine != Engine::Structural || arch == Arch::Cpu;
    let families = if families.is_empty() { Family::ALL } else { families };
    let mut cells: Vec<Cell> = Vec::new();
    for &family in families {
        for plan in Plan::ALL.into_iter().filter(|plan| wanted(plan) && runs(plan)) {
            let cell = Cell { family, plan };
            if plan.suits(family) && !cells.contains(&cell) {
                cells.push(cell);
            }
        }
    }
    if cells.is_empty() {
        return Err(WorkerError::Setting(format!(
            "no plan asked for suits a family asked for on {arch}: A and B are for all families, \
             C for lcg32, D for mt19937, E for java_lcg on cpu"
        )));
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(families: &[Family], plans: &[&str], arch: Arch) -> Vec<String> {
        let plans: Vec<String> = plans.iter().map(ToString::to_string).collect();
        match cells(families, &plans, arch) {
            Ok(cells) => cells.iter().map(|c| format!("{} {}", c.family, c.plan.name)).collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    #[test]
    fn plans_go_by_letter_or_name_and_to_the_families_they_are_for() {
        let all = names(&[], &[], Arch::Cpu);
        assert_eq!(all.len(), 4 * Family::ALL.len() + 3);
        assert_eq!(names(&[], &[], Arch::Cuda).len(), all.len() - 1, "E is the processor's");
        let java = [Family::JavaLcg, Family::JavaLcg];
        assert_eq!(
            names(&java, &["a", "E", "C"], Arch::Cpu),
            ["java_lcg A.25", "java_lcg A.5", "java_lcg A1", "java_lcg E"]
        );
        assert_eq!(names(&[], &["D"], Arch::Rocm), ["mt19937 D"]);
        assert_eq!(names(&[Family::Minstd], &["A.5"], Arch::Cpu), ["minstd A.5"]);
    }

    #[test]
    fn what_leaves_nothing_is_refused() {
        assert!(names(&[], &["F"], Arch::Cpu)[0].contains("'F' is no plan"));
        assert!(names(&[Family::Minstd], &["C"], Arch::Cpu)[0].contains("C for lcg32"));
        assert!(names(&[], &["E"], Arch::Cuda)[0].contains("on cuda"));
    }
}
