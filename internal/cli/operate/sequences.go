package operate

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"valence/atom"
	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
)

// SequencesCommand lists and unblocks blocked sequence keys.
type SequencesCommand struct {
	List    sequencesListCommand    `cmd:"" default:"withargs" help:"List the keys that a failed execution blocks, longest first (default)."`
	Skip    sequencesSkipCommand    `cmd:"" help:"Skip the failed execution and run the next one of its key."`
	Release sequencesReleaseCommand `cmd:"" help:"Skip the failed execution and run all waiting ones, even if some fail."`
}

// Help returns the text below the command's summary.
func (*SequencesCommand) Help() string {
	return `A failed execution of a process with "sequence:" blocks its key, and later
executions of the key are held. The key is unblocked when the failed execution is
resubmitted (it keeps its position), deleted or skipped. A skipped execution
remains in the list of failed executions.

Examples:

    valence sequences
    valence sequences skip order-sync 4711
    valence sequences release order-sync 4711
    valence executions --status held
`
}

type sequencesListCommand struct {
	client.AtomFlags
	pageFlags
	JSON bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*sequencesListCommand) Help() string { return (*SequencesCommand)(nil).Help() }

// Run lists blocked keys.
func (c *sequencesListCommand) Run(s *terminal.Streams) error {
	query, err := c.query()
	if err != nil {
		return err
	}
	text, err := get(&c.AtomFlags, "/sequences?"+query.Encode())
	if err != nil {
		return err
	}
	if c.JSON {
		return terminal.PrintJSON(s.Out, text)
	}
	var list struct {
		Sequences  []atom.BlockedKey `json:"sequences"`
		NextCursor string            `json:"next_cursor"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	if len(list.Sequences) == 0 {
		fmt.Fprintln(s.Err, "No key is blocked.")
		return nil
	}
	t := &terminal.Table{Head: []string{"PROCESS", "KEY", "BLOCKED", "WAITING", "BY", "CAUSE"}}
	for _, k := range list.Sequences {
		t.Add(k.Process, k.Key, terminal.Ago(k.Since), strconv.FormatInt(k.Waiting, 10), k.Execution, describeError(k.Error))
	}
	if err := t.Print(s.Out); err != nil {
		return err
	}
	printMore(s, list.NextCursor)
	return nil
}

// blockedKey names the blocked key of a command.
type blockedKey struct {
	client.AtomFlags
	Process string `arg:"" name:"process" help:"Process of the failed execution."`
	Key     string `arg:"" name:"key" help:"Blocked key."`
	JSON    bool   `help:"Print as JSON."`
}

type sequencesSkipCommand struct{ blockedKey }

// Help returns the text below the command's summary.
func (*sequencesSkipCommand) Help() string {
	return `The failed execution gives up its position and remains in the list of failed
executions. If it is resubmitted later, it goes to the end of the key's queue.

Example:

    valence sequences skip order-sync 4711
`
}

// Run skips the execution that blocks a key.
func (c *sequencesSkipCommand) Run(s *terminal.Streams) error {
	return c.unblock(s, "skip", "is skipped")
}

type sequencesReleaseCommand struct{ blockedKey }

// Help returns the text below the command's summary.
func (*sequencesReleaseCommand) Help() string {
	return `Like skip; in addition, an execution that waits now does not block the key again if
it fails.

Example:

    valence sequences release order-sync 4711
`
}

// Run releases a key.
func (c *sequencesReleaseCommand) Run(s *terminal.Streams) error {
	return c.unblock(s, "release", "is skipped, and the key is released")
}

// unblock posts an action on the key and prints the skipped execution.
func (c *blockedKey) unblock(s *terminal.Streams, action, done string) error {
	text, err := call(&c.AtomFlags, http.MethodPost, "/sequences/"+url.PathEscape(c.Process)+"/"+url.PathEscape(c.Key)+"/"+action)
	if err != nil {
		return err
	}
	if c.JSON {
		return terminal.PrintJSON(s.Out, text)
	}
	var answer struct{ Execution string }
	if err := json.Unmarshal(text, &answer); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "%s %s\n", answer.Execution, done)
	return nil
}
