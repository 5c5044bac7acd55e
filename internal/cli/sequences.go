package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"valence/atom"
)

type sequencesCmd struct {
	List    listSequencesCmd   `cmd:"" default:"withargs" help:"List the keys that a failed execution blocks, the longest blocked first (the default)."`
	Skip    skipSequenceCmd    `cmd:"" help:"Let the next execution of a blocked key run."`
	Release releaseSequenceCmd `cmd:"" help:"Let everything that waits for a blocked key run, also past further failures."`
}

// Help is shown below the command's summary.
func (*sequencesCmd) Help() string {
	return `A failed execution of a process with "sequence:" blocks its key: what comes
behind it is held. It goes on when the failed one is resubmitted (it keeps its
place), deleted, or skipped. A skipped one stays in the list of failures.

Examples:

    valence sequences
    valence sequences skip order-sync 4711
    valence sequences release order-sync 4711
    valence executions --status held
`
}

type listSequencesCmd struct {
	remote
	Limit  int    `default:"50" help:"Most to list."`
	Cursor string `placeholder:"CURSOR" help:"Go on where a list ended: the next_cursor of --json."`
	JSON   bool   `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*listSequencesCmd) Help() string { return (*sequencesCmd)(nil).Help() }

// Run lists blocked keys.
func (c *listSequencesCmd) Run(s *streams) error {
	if c.Limit < 1 || c.Limit > 500 {
		return usage("--limit 500, and --cursor for more", "--limit takes 1 to 500")
	}
	query := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	if c.Cursor != "" {
		query.Set("cursor", c.Cursor)
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	text, err := api.call(context.Background(), "GET", "/sequences?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, text)
	}
	var list struct {
		Sequences  []atom.BlockedKey `json:"sequences"`
		NextCursor string            `json:"next_cursor"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	if len(list.Sequences) == 0 {
		fmt.Fprintln(s.err, "No key is blocked.")
		return nil
	}
	t := &table{head: []string{"PROCESS", "KEY", "BLOCKED", "WAITING", "BY", "CAUSE"}}
	for _, k := range list.Sequences {
		cause := ""
		if k.Error != nil {
			cause = cut(k.Error.Code+": "+k.Error.Message, 80)
		}
		t.add(k.Process, k.Key, ago(k.Since), strconv.FormatInt(k.Waiting, 10), k.Execution, cause)
	}
	if err := t.print(s.out); err != nil {
		return err
	}
	if list.NextCursor != "" {
		fmt.Fprintf(s.err, "There are more: --cursor %s\n", list.NextCursor)
	}
	return nil
}

// blockedKey names a blocked key.
type blockedKey struct {
	remote
	Process string `arg:"" name:"process" help:"The process of the failed execution."`
	Key     string `arg:"" name:"key" help:"The key."`
	JSON    bool   `help:"Print as JSON."`
}

type skipSequenceCmd struct{ blockedKey }

// Help is shown below the command's summary.
func (*skipSequenceCmd) Help() string {
	return "The failed execution gives up its place and stays in the list of failures; resubmitted later, it goes to the end.\n\nExample:\n\n    valence sequences skip order-sync 4711\n"
}

// Run skips the execution that blocks a key.
func (c *skipSequenceCmd) Run(s *streams) error { return c.unblock(s, "skip", "is skipped") }

type releaseSequenceCmd struct{ blockedKey }

// Help is shown below the command's summary.
func (*releaseSequenceCmd) Help() string {
	return "Like skip; and of what waits now, one that fails does not block the key again.\n\nExample:\n\n    valence sequences release order-sync 4711\n"
}

// Run releases a key.
func (c *releaseSequenceCmd) Run(s *streams) error {
	return c.unblock(s, "release", "is skipped, and the key released")
}

func (c *blockedKey) unblock(s *streams, how, done string) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	text, err := api.call(context.Background(), "POST", "/sequences/"+url.PathEscape(c.Process)+"/"+url.PathEscape(c.Key)+"/"+how, nil)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, text)
	}
	var answer struct{ Execution string }
	if err := json.Unmarshal(text, &answer); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s %s\n", answer.Execution, done)
	return nil
}
