# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# shellcheck shell=bash
# bash completion for gmem, which itself tells its commands and their options: a line
# each of name, values and help.

_gmem() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} name values
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$(gmem --complete | cut -f 1)" -- "$cur")
		return
	fi

	local -A takes=()
	while IFS='|' read -r name values _; do
		takes[$name]=$values
	done < <(gmem "$command" --complete 2>/dev/null | tr '\t' '|')
	if [[ $cur == --* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "${!takes[*]}" -- "$cur")
	elif [[ $prev == --* && -n ${takes[$prev]-} && ${takes[$prev]} != FILE ]]; then
		mapfile -t COMPREPLY < <(compgen -W "${takes[$prev]%-}" -- "$cur")
	else
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}
complete -F _gmem gmem
