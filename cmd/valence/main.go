// Command valence runs integration processes. See valence --help.
package main

import (
	"os"

	"valence/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
