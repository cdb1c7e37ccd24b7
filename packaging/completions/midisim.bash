# bash completion for midisim: a command, then what completes midisim-COMMAND; a query, then what completes
# midisim-search
_midisim() {
    local commands
    commands=$(midisim --generate-commands 2>/dev/null)
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "help $commands" -- "${COMP_WORDS[1]}")
        ((${#COMPREPLY[@]})) && compopt +o default
        return
    fi
    local command=${COMP_WORDS[1]}
    if [[ $command != help && $'\n'$commands$'\n' != *$'\n'$command$'\n'* ]]; then
        COMP_WORDS=(midisim search "${COMP_WORDS[@]:1}")
        ((COMP_CWORD++))
        command=search
    fi
    if [[ $command == help ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "${COMP_WORDS[2]}")
        compopt +o default
        return
    fi
    local function=_midisim_${command//-/_}
    declare -F "$function" >/dev/null || . "${BASH_SOURCE[0]%/*}/midisim-$command" 2>/dev/null || return
    COMP_WORDS=("midisim-$command" "${COMP_WORDS[@]:2}")
    ((COMP_CWORD--))
    "$function"
}
complete -o default -F _midisim midisim
