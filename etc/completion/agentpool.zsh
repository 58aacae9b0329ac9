#compdef agentpool
# zsh completion for agentpool(1), which says itself what may come next. Its name in a directory of fpath: _agentpool.
_agentpool() {
        local line
        local -a lines candidates
        lines=("${(@f)$("${(Q)words[1]}" __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
        for line in $lines; do
                case $line in
                :files) _files; return ;;
                :directories) _files -/; return ;;
                *) candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
                esac
        done
        _describe agentpool candidates
}
if [ "$funcstack[1]" = _agentpool ]; then
        _agentpool "$@"
else
        compdef _agentpool agentpool
fi
