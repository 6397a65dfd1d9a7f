# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# fish completion for gmem, which itself tells its commands and their options: a line
# each of name, values and help.

gmem --complete | while read --delimiter \t name values help
    complete --command gmem --condition __fish_use_subcommand --no-files --arguments $name --description $help
    string match --quiet --regex '^(-|help$)' -- $name; and continue
    gmem $name --complete 2>/dev/null | while read --delimiter \t option values help
        set --local takes
        switch "$values"
            case ''
            case FILE
                set takes --require-parameter --force-files
            case -
                set takes --exclusive
            case '*'
                set takes --exclusive --arguments "$values"
        end
        complete --command gmem --condition "__fish_seen_subcommand_from $name" \
            --long-option (string sub --start 3 -- $option) --description "$help" $takes
    end
end
