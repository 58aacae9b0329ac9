# fish completion for agentpool(1), which says itself what may come next: commands, options, pools, agents.
function __agentpool_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in (command $words[1] __complete $words[2..] "$current" 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path (string replace -r '^--?[^=]*=' '' -- $current)
            case :directories
                __fish_complete_directories (string replace -r '^--?[^=]*=' '' -- $current) ''
            case '*'
                echo $line
        end
    end
end
complete -c agentpool -f -a '(__agentpool_complete)'
