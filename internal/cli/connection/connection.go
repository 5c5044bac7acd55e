// Package connection has the commands for the connections of a project.
package connection

import (
	"context"
	"fmt"
	"time"

	"valence/connectors"
	"valence/internal/cli/project"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/fault"
	"valence/processes"
)

// Command groups the commands.
type Command struct {
	Prepare PrepareCommand `cmd:"" help:"Create what a connection needs in the other system, such as the table for once: true."`
}

// Help returns the text below the command's summary.
func (*Command) Help() string {
	return `Example:

    valence connection prepare warehouse
`
}

// PrepareCommand prepares the other system of a connection.
type PrepareCommand struct {
	Name string `arg:"" help:"Name of the connection."`
	project.Choice
}

// Help returns the text below the command's summary.
func (*PrepareCommand) Help() string {
	return `The command changes nothing if everything is there already.

Example:

    valence connection prepare warehouse --environment test
`
}

// timeout bounds the command.
const timeout = time.Minute

// Run prepares the connection.
func (c *PrepareCommand) Run(s *terminal.Streams) error {
	p, err := c.Open(s.Err)
	if err != nil {
		return err
	}
	client, _, err := p.Connect(c.Name)
	if err != nil {
		return err
	}
	defer client.Close()
	conn := p.Connections[c.Name]
	preparer, ok := client.(connectors.Preparer)
	if !ok {
		return clierror.Invalid("use the connection as it is", "connections of the connector %s need no preparation", conn.Connector.Name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	done, err := preparer.Prepare(ctx)
	if err != nil {
		return clierror.Failed(remedy(err, conn), "%s", p.Masks.String(err.Error()))
	}
	if done == "" {
		done = "Nothing to do: the connection " + c.Name + " is prepared."
	}
	_, err = fmt.Fprintln(s.Out, done)
	return err
}

// remedy returns the hint for a connection that cannot be prepared.
func remedy(err error, c *processes.Connection) string {
	if f := fault.AsFailure(err); f.Unavailable() {
		return "start the other system, or correct its address in the connection at " + c.Pos.String()
	}
	return "correct the connection at " + c.Pos.String() + ", or have its user allowed to create the table"
}
