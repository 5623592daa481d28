// The newest of Docker's own Go clients at work: a container from birth to death, an image from a registry and back. A line for each step that is as it should be.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

var ctx = context.Background()

func step[T any](name string, value T, err error) T {
	if err != nil {
		fmt.Printf("FAILED %s: %v\n", name, err)
		os.Exit(1)
	}
	fmt.Println(name)
	return value
}

func check(name string, good bool, what any) {
	if !good {
		fmt.Printf("FAILED %s: %v\n", name, what)
		os.Exit(1)
	}
	fmt.Println(name)
}

func main() {
	api, err := client.New(client.WithHost("unix://" + os.Args[1]))
	step("client", api, err)
	ping, err := api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	step("ping", ping, err)
	check("version", api.ClientVersion() == ping.APIVersion, api.ClientVersion())
	life(api, os.Args[2])
	rest(api, os.Args[2])
	exchange(api, os.Args[3])
	attested(api, os.Args[4])
	newer(api, os.Args[2])
	fmt.Println("ALL")
}

func exchange(api *client.Client, image string) {
	pulling, err := api.ImagePull(ctx, image, client.ImagePullOptions{})
	step("pull", pulling, err)
	step("pulled", 0, pulling.Wait(ctx))
	here, err := api.ImageInspect(ctx, image)
	step("inspect of what was pulled", here, err)
	pulled := here.Identity != nil && len(here.Identity.Pull) == 1
	check("identity", pulled && strings.HasSuffix(here.Identity.Pull[0].Repository, "/box"), here.Identity)
	listed, err := api.ImageList(ctx, client.ImageListOptions{Manifests: true, Identity: true})
	step("list with identities", listed, err)
	known := 0
	for _, one := range listed.Items {
		if one.Manifests[0].ImageData.Identity != nil {
			known++
		}
	}
	check("listed identities", known == 1, listed.Items)
	there, err := api.DistributionInspect(ctx, image, client.DistributionInspectOptions{})
	step("distribution", there, err)
	check("platforms", len(there.Platforms) == 1 && there.Descriptor.Digest != "", there)
	pushing, err := api.ImagePush(ctx, image, client.ImagePushOptions{RegistryAuth: "e30="})
	step("push", pushing, err)
	step("pushed", 0, pushing.Wait(ctx))
	here, err = api.ImageInspect(ctx, image)
	check("one identity", err == nil && len(here.Identity.Pull) == 1, here.Identity)
	_, err = api.ImagePull(ctx, image+"not", client.ImagePullOptions{})
	check("what is not there", err != nil, err)
}

func attested(api *client.Client, image string) {
	found, err := api.ImageAttestations(ctx, image)
	step("attestations", found, err)
	check("without statements", len(found.Items) == 2 && found.Items[0].Statement == nil, found.Items)
	found, err = api.ImageAttestations(ctx, image, client.ImageAttestationsWithPredicateTypes("https://slsa.dev/provenance/v1"), client.ImageAttestationsWithStatement())
	step("provenance", found, err)
	check("statement", len(found.Items) == 1 && strings.Contains(string(*found.Items[0].Statement), "in-toto.io"), found.Items)
}

func newer(api *client.Client, image string) {
	umask := uint32(0o27)
	made, err := api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config:     &container.Config{Image: image, Cmd: []string{"sleep", "1000"}},
		HostConfig: &container.HostConfig{Umask: &umask, Annotations: map[string]string{"color": "red"}},
	})
	step("create with a umask", made, err)
	begun := time.Now().Add(-time.Second)
	_, err = api.ContainerStart(ctx, made.ID, client.ContainerStartOptions{})
	step("start with a umask", 0, err)
	listed, err := api.ContainerList(ctx, client.ContainerListOptions{Filters: make(client.Filters).Add("annotation", "color=red")})
	step("list by annotation", listed, err)
	check("health of a list", len(listed.Items) == 1 && listed.Items[0].Health.Status == container.NoHealthcheck, listed.Items)
	found, err := api.ContainerInspect(ctx, made.ID, client.ContainerInspectOptions{})
	step("inspect with a umask", found, err)
	check("umask", *found.Container.HostConfig.Umask == umask, found.Container.HostConfig)
	bridge, err := api.NetworkInspect(ctx, "bridge", client.NetworkInspectOptions{})
	step("network", bridge, err)
	for subnet, status := range bridge.Network.Status.IPAM.Subnets {
		check("addresses of a network", subnet.Bits() == 16 && status.IPsInUse == 4 && status.DynamicIPsAvailable == 65532, bridge.Network.Status)
	}
	usage, err := api.DiskUsage(ctx, client.DiskUsageOptions{Containers: true, Images: true})
	step("disk usage in short", usage, err)
	check("sums", usage.Containers.ActiveCount == 1 && usage.Images.ActiveCount == 1 && usage.Images.TotalCount > 1 && usage.Containers.Items == nil, usage)
	events := api.Events(ctx, client.EventsListOptions{Since: begun.Format(time.RFC3339Nano), Filters: make(client.Filters).Add("container", made.ID)})
	select {
	case event := <-events.Messages:
		check("events", event.Actor.ID == made.ID, event)
	case err := <-events.Err:
		step("events", 0, err)
	}
	_, err = api.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{Force: true})
	step("the last one", 0, err)
}

func life(api *client.Client, image string) {
	made, err := api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: "from-go",
		Config: &container.Config{
			Image: image, Cmd: []string{"sh", "-c", "cat; echo err >&2; exit 3"}, Env: []string{"A=b"},
			OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
		},
		HostConfig: &container.HostConfig{NetworkMode: "none"},
	})
	step("create", made, err)
	attached, err := api.ContainerAttach(ctx, made.ID, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	step("attach", attached, err)
	end := api.ContainerWait(ctx, made.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	started, err := api.ContainerStart(ctx, made.ID, client.ContainerStartOptions{})
	step("start", started, err)
	io.WriteString(attached.Conn, "typed\n")
	attached.CloseWrite()
	var out, errs bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &errs, attached.Reader)
	step("streams", 0, err)
	check("output", out.String() == "typed\n" && errs.String() == "err\n", []string{out.String(), errs.String()})
	select {
	case result := <-end.Result:
		check("wait", result.StatusCode == 3 && result.Error == nil, result)
	case err := <-end.Error:
		step("wait", 0, err)
	case <-time.After(20 * time.Second):
		check("wait", false, "it took too long")
	}
	found, err := api.ContainerInspect(ctx, made.ID, client.ContainerInspectOptions{Size: true})
	step("inspect", found, err)
	check("state", found.Container.State.ExitCode == 3 && found.Container.Name == "/from-go", found.Container.State)
	logs, err := api.ContainerLogs(ctx, made.ID, client.ContainerLogsOptions{ShowStdout: true, Tail: "all"})
	step("logs", logs, err)
	out.Reset()
	_, err = stdcopy.StdCopy(&out, &errs, logs)
	step("log lines", 0, err)
	check("log", out.String() == "typed\n", out.String())
	removed, err := api.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{})
	step("remove", removed, err)
}

func rest(api *client.Client, image string) {
	made, err := api.ContainerCreate(ctx, client.ContainerCreateOptions{Config: &container.Config{Image: image, Cmd: []string{"sleep", "1000"}}})
	step("create again", made, err)
	_, err = api.ContainerStart(ctx, made.ID, client.ContainerStartOptions{})
	step("start again", 0, err)
	process, err := api.ExecCreate(ctx, made.ID, client.ExecCreateOptions{Cmd: []string{"sh", "-c", "echo exec; exit 4"}, AttachStdout: true})
	step("exec create", process, err)
	attached, err := api.ExecAttach(ctx, process.ID, client.ExecAttachOptions{})
	step("exec start", attached, err)
	var out bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &out, attached.Reader)
	step("exec streams", 0, err)
	ended, err := api.ExecInspect(ctx, process.ID, client.ExecInspectOptions{})
	step("exec inspect", ended, err)
	check("exec", out.String() == "exec\n" && ended.ExitCode == 4 && !ended.Running, ended)
	listed, err := api.ContainerList(ctx, client.ContainerListOptions{All: true, Size: true})
	step("list", listed, err)
	check("listed", len(listed.Items) == 1 && listed.Items[0].State == "running", listed)
	images, err := api.ImageList(ctx, client.ImageListOptions{})
	step("images", images, err)
	one, err := api.ImageInspect(ctx, image)
	step("image inspect", one, err)
	history, err := api.ImageHistory(ctx, image)
	step("image history", history, err)
	usage, err := api.DiskUsage(ctx, client.DiskUsageOptions{Containers: true, Images: true, BuildCache: true, Volumes: true, Verbose: true})
	step("disk usage", usage, err)
	info, err := api.Info(ctx, client.InfoOptions{})
	step("info", info, err)
	_, err = api.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{Force: true})
	step("force", 0, err)
}
