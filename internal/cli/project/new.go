package project

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/processes/language"
)

//go:embed all:new
var newProject embed.FS

// NewCommand creates a project.
type NewCommand struct {
	Dir      string `arg:"" files:"" help:"Folder to create. It must be empty or not exist."`
	Template string `enum:"default,fire-and-forget,request-reply,thin-event,nightly,file-drop,queue,soap" default:"default" help:"What the project does: ${enum}."`
	From     string `placeholder:"FILE" help:"An OpenAPI 3 document, as YAML or JSON, or a WSDL, from which the project is made in place of a template."`
	As       string `enum:"connection,listener" default:"connection" help:"With --from: connection makes a process for each operation that calls it, listener one that offers it."`
}

// Help returns the text below the command's summary.
func (*NewCommand) Help() string {
	return `The project has processes, their tests, and the JSON Schema for editors. It
passes valence lint and valence test, and runs at once: processes in stand-in.yaml
play the other systems.

Templates:

    default          one process that answers requests, and one that stores messages
    fire-and-forget  a message is stored and acknowledged, and works later
    request-reply    a caller waits for a reply that another system knows
    thin-event       an event has an id: fetch the record, send it on, write back
    nightly          copy what has changed, page by page, with a watermark
    file-drop        read the files of a folder
    queue            work off a queue of an AMQP broker such as RabbitMQ
    soap             a SOAP service in front of a REST system

Examples:

    valence new orders
    cd orders
    valence run
    valence new prices --template request-reply
    valence new pets --from openapi.yaml
    valence new pets --from openapi.yaml --as listener
    valence new erp --from erp.wsdl
`
}

// about describes the processes of each template.
var about = map[string]string{
	"default":         "greet.yaml answers requests, notes.yaml stores messages and works later",
	"fire-and-forget": "orders.yaml stores orders and sends them to an ERP later",
	"request-reply":   "price.yaml answers requests with the price of an item",
	"thin-event":      "order-changed.yaml fetches the order of an event and sends it on",
	"nightly":         "nightly.yaml copies changed orders each night",
	"file-drop":       "import.yaml sends the rows of CSV files to a shop",
	"queue":           "orders.yaml works off a queue",
	"soap":            "orders.yaml serves the operations of orders.wsdl",
}

// Run creates the project.
func (c *NewCommand) Run(s *terminal.Streams) error {
	if c.As != "connection" && c.From == "" {
		return clierror.Usage("valence new DIR --from FILE --as "+c.As, "--as needs --from")
	}
	if err := emptyFolder(c.Dir); err != nil {
		return err
	}
	if c.From != "" {
		return c.scaffold(s)
	}
	if err := c.write(); err != nil {
		return clierror.Failed("name a folder in a writable place", "%v", err)
	}
	next := "valence run"
	if c.Template != "default" {
		next = "valence test\n\nREADME.md says how to run it."
	}
	_, err := fmt.Fprintf(s.Out, "Created a project in %s: %s.\n\n    %s\n    %s\n", c.Dir, about[c.Template], terminal.ChangeDir(c.Dir), next)
	return err
}

// write copies the template and generates the schema.
func (c *NewCommand) write() error {
	template, err := fs.Sub(newProject, "new/"+c.Template)
	if err != nil {
		return err
	}
	if err := os.CopyFS(c.Dir, template); err != nil {
		return err
	}
	return writeCommon(c.Dir)
}

// writeCommon writes the files that every project has.
func writeCommon(dir string) error {
	ignored, err := newProject.ReadFile("new/gitignore")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, ".gitignore"), ignored, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "schema.json"), language.Schema(Catalog()), 0o644)
}
