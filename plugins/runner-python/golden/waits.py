"""Coroutines that sleep, in the order of their times."""
import asyncio


async def after(seconds, name):
    await asyncio.sleep(seconds)
    print(name)
    return name


async def main():
    print(await asyncio.gather(after(0.03, "c"), after(0.01, "a"), after(0.02, "b")))
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(5)
    except TimeoutError:
        print("late")


asyncio.run(main())
