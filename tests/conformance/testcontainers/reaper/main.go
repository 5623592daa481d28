// A reaper that speaks Ryuk's protocol: lines of filters are acknowledged; when the last connection has been closed for a
// while, whatever carries the labels is removed. It stands for Ryuk where Ryuk's own program is not to be had.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
)

const firstConnection = 60 * time.Second

type event struct {
	connected bool
	filter    string
}

func main() {
	api, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	fatal(err)
	_, err = api.Ping(context.Background())
	fatal(err)
	patience, err := time.ParseDuration(os.Getenv("RYUK_RECONNECTION_TIMEOUT"))
	if err != nil {
		patience = 10 * time.Second
	}
	listener, err := net.Listen("tcp", ":8080")
	fatal(err)
	events := make(chan event)
	go accept(listener, events)
	log.Print("reaper Started!")
	for _, filter := range collect(events, patience) {
		reap(api, filter)
	}
	log.Print("done")
}

func fatal(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func accept(listener net.Listener, events chan<- event) {
	for {
		connection, err := listener.Accept()
		fatal(err)
		events <- event{connected: true}
		go hear(connection, events)
	}
}

func hear(connection net.Conn, events chan<- event) {
	defer connection.Close()
	lines := bufio.NewScanner(connection)
	for lines.Scan() {
		events <- event{connected: true, filter: lines.Text()}
		fmt.Fprintln(connection, "ACK")
	}
	events <- event{connected: false}
}

// Gathers filters until nobody has been connected for as long as was asked.
func collect(events <-chan event, patience time.Duration) []filters.Args {
	var found []filters.Args
	connections := 0
	end := time.NewTimer(firstConnection)
	for {
		select {
		case heard := <-events:
			switch {
			case heard.filter != "":
				found = append(found, parse(heard.filter))
			case heard.connected:
				connections++
				end.Stop()
			default:
				if connections--; connections == 0 {
					end.Reset(patience)
				}
			}
		case <-end.C:
			return found
		}
	}
}

func parse(line string) filters.Args {
	args := filters.NewArgs()
	values, err := url.ParseQuery(line)
	fatal(err)
	for name, all := range values {
		for _, value := range all {
			args.Add(name, value)
		}
	}
	log.Printf("filter %s", line)
	return args
}

func reap(api *client.Client, filter filters.Args) {
	ctx := context.Background()
	containers, err := api.ContainerList(ctx, container.ListOptions{All: true, Filters: filter})
	fatal(err)
	for _, one := range containers {
		say("container", one.ID, api.ContainerRemove(ctx, one.ID, container.RemoveOptions{RemoveVolumes: true, Force: true}))
	}
	networks, err := api.NetworkList(ctx, network.ListOptions{Filters: filter})
	fatal(err)
	for _, one := range networks {
		say("network", one.ID, api.NetworkRemove(ctx, one.ID))
	}
	volumes, err := api.VolumeList(ctx, volume.ListOptions{Filters: filter})
	fatal(err)
	for _, one := range volumes.Volumes {
		say("volume", one.Name, api.VolumeRemove(ctx, one.Name, true))
	}
	images, err := api.ImageList(ctx, image.ListOptions{Filters: filter})
	fatal(err)
	for _, one := range images {
		_, err := api.ImageRemove(ctx, one.ID, image.RemoveOptions{PruneChildren: true})
		say("image", one.ID, err)
	}
}

func say(kind, name string, err error) {
	if err != nil {
		log.Printf("%s %s stays: %v", kind, name, err)
		return
	}
	log.Printf("%s %s removed", kind, name)
}
