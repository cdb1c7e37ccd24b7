# fish completion for midisim: a command, then what completes midisim-COMMAND; a query, then what completes
# midisim-search
function __midisim_delegate
    set -l words (commandline -opc)
    if not contains -- $words[2] (midisim --generate-commands 2>/dev/null)
        set words midisim search $words[2..-1]
    end
    set -l line midisim-$words[2]
    if test (count $words) -gt 2
        set line "$line "(string join ' ' -- (string escape -- $words[3..-1]))
    end
    complete -C "$line "(commandline -ct)
end
function __midisim_is_first
    test (count (commandline -opc)) -eq 1
end
complete -c midisim -f
complete -c midisim -n __midisim_is_first -a '(midisim --generate-commands 2>/dev/null) help'
complete -c midisim -n '__fish_seen_subcommand_from help' -a '(midisim --generate-commands 2>/dev/null)'
complete -c midisim -n __midisim_is_first -F
complete -c midisim -n 'not __midisim_is_first; and not __fish_seen_subcommand_from help' -a '(__midisim_delegate)'
