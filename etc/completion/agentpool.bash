# bash completion for agentpool(1), which says itself what may come next: commands, options, pools, agents.
_agentpool() {
        local line=${COMP_LINE:0:COMP_POINT} piece glued current word i
        local -a words=()
        COMPREPLY=()
        # Bash takes words apart at ":" and "=": what stands without a blank between is one, as a URL.
        for ((i = 0; i <= COMP_CWORD; i++)); do
                [[ $line = [[:space:]]* ]] && glued=no || glued=yes
                line=${line#"${line%%[![:space:]]*}"}
                piece=${COMP_WORDS[i]}
                ((i == COMP_CWORD)) && piece=$line
                line=${line#"$piece"}
                if ((i > 0)) && [ $glued = yes ]; then
                        words[-1]+=$piece
                else
                        words+=("$piece")
                fi
        done
        current=${words[-1]}
        while IFS=$'\t' read -r word _; do
                case $word in
                :files) mapfile -t COMPREPLY < <(compgen -f -- "${current##*=}") && compopt -o filenames 2>/dev/null ;;
                :directories) mapfile -t COMPREPLY < <(compgen -d -- "${current##*=}") && compopt -o filenames 2>/dev/null ;;
                *) COMPREPLY+=("${word#"${current%"${current##*[:=]}"}"}") ;;
                esac
        done < <("${words[0]/#\~/$HOME}" __complete "${words[@]:1}" 2>/dev/null)
        if [ ${#COMPREPLY[@]} -eq 1 ] && [[ ${COMPREPLY[0]} = *[:/=] ]]; then
                compopt -o nospace 2>/dev/null
        fi
}
complete -F _agentpool agentpool
