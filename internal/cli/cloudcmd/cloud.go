// Package cloudcmd has the commands that call the API of a control plane.
package cloudcmd

import (
	"fmt"
	"time"

	"valence/internal/cli/client"
	"valence/internal/cli/controlplane"
	"valence/internal/cli/terminal"
)

// Command starts a control plane or manages one.
type Command struct {
	Run          controlplane.Command `cmd:"" default:"withargs" help:"Start the control plane (default)."`
	Token        tokenCommand         `cmd:"" help:"Create, list and revoke API tokens."`
	Install      installCommand       `cmd:"" name:"install-token" help:"Create a token with which one atom can join."`
	Atoms        atomsCommand         `cmd:"" help:"List the atoms."`
	Log          logCommand           `cmd:"" help:"Show the last lines of an atom's log."`
	Attach       attachCommand        `cmd:"" help:"Attach an atom to an environment."`
	Detach       detachCommand        `cmd:"" help:"Detach an atom from its environment."`
	Purge        purgeCommand         `cmd:"" help:"Limit how many days an atom keeps finished executions."`
	Retire       retireCommand        `cmd:"" help:"Retire an atom: it finishes its executions, then stops polling."`
	Revoke       revokeCommand        `cmd:"" help:"Revoke an atom: its requests are rejected from now on."`
	Schedules    schedulesCommand     `cmd:"" help:"List, pause and resume schedules."`
	Environments environmentsCommand  `cmd:"" help:"List, create, change and delete environments."`
	Secret       secretCommand        `cmd:"" help:"Set a secret of an environment; it is never shown again."`
	Value        valueCommand         `cmd:"" help:"Set values of an environment."`
	Fields       fieldsCommand        `cmd:"" help:"List the values and secrets of an environment, including missing ones."`
	Deployments  deploymentsCommand   `cmd:"" help:"List deployments and their state on each atom."`
	Executions   executionsCommand    `cmd:"" help:"List, show, cancel and resubmit executions of all atoms."`
	Execute      executeCommand       `cmd:"" help:"Request an execution of a process on an atom."`
	Listeners    listenersCommand     `cmd:"" help:"List, pause, resume and restart the triggers of an atom."`
	Undeploy     undeployCommand      `cmd:"" help:"Remove a project from an environment."`
	Account      accountCommand       `cmd:"" help:"Create an account with a token for its first admin, or list accounts."`
	Audit        auditCommand         `cmd:"" help:"Show the audit log: who did what, when and from where."`
	Backup       backupCommand        `cmd:"" help:"Copy the data of the running control plane."`
}

// Help returns the text below the command's summary.
func (*Command) Help() string {
	return `Without a subcommand, it starts the control plane, like valence cloud run. The other
commands call the API of a running control plane, with the address and the token
in its data folder; use --url and --token-file for others.

Examples:

    valence cloud --listen 127.0.0.1:9092 --data cloud-data
    valence cloud token --role deployer --name ci --data cloud-data
    valence cloud install-token --environment prod --data cloud-data
`
}

// oneAtom names the atom of a command.
type oneAtom struct {
	client.CloudFlags
	Atom string `arg:"" help:"Name or id of the atom."`
}

// waitFlags are the flags of commands that can wait for an execution.
type waitFlags struct {
	Wait     bool          `help:"Wait for the end of the execution and show it. The exit code is 1 if it did not complete."`
	WaitTime time.Duration `name:"wait-time" default:"5m" help:"Longest wait with --wait."`
}

// printLine prints one line of output.
func printLine(s *terminal.Streams, format string, args ...any) error {
	_, err := fmt.Fprintf(s.Out, format+"\n", args...)
	return err
}
