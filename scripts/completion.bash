# Tab completion of settings in bash: source scripts/completion.bash, then python -m study.train met<TAB>
# Hydra's own completion knows `python FILE.py` only; this asks it the same question for `python -m study.train`.

COMP_WORDBREAKS=${COMP_WORDBREAKS//=/}

_study_train() {
    COMPREPLY=()
    [ "${COMP_WORDS[1]}" = "-m" ] && [ "${COMP_WORDS[2]}" = "study.train" ] || return 0
    local typed=${COMP_LINE#*study.train}
    local choices
    choices=$(COMP_LINE="python study.train$typed" "${COMP_WORDS[0]}" -m study.train -sc query=bash 2>/dev/null)
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "${COMP_WORDS[COMP_CWORD]}")
}

complete -o nospace -o default -F _study_train python python3 .venv/bin/python
